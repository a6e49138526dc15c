package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	people "github.com/tocsin/tocsin/console/account"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/incident/audit"
)

// with makes a command that asks a console.
func with(cmd *cobra.Command, withStore bool, fn func(c *client, args []string) error) *cobra.Command {
	a := askFlags(cmd)
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		c, err := a.open(withStore)
		if err != nil {
			return err
		}
		return errors.Join(fn(c, args), c.close())
	}
	return cmd
}

func group(use, short string, subs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short}
	cmd.AddCommand(subs...)
	return cmd
}

// table prints rows under a head.
func table(w io.Writer, head string, rows [][]string) error {
	if len(rows) == 0 {
		return errNothing
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, head)
	for _, r := range rows {
		for i := range r {
			// What people wrote stays on its line and does nothing to the terminal.
			r[i] = strings.Map(func(c rune) rune {
				if c < ' ' || c == 0x7f || c >= 0x80 && c < 0xa0 {
					return ' '
				}
				return c
			}, dash(r[i]))
		}
		fmt.Fprintln(t, strings.Join(r, "\t"))
	}
	return t.Flush()
}

func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.DateTime)
}

type listOf[T any] struct{ Items []T }

func newAPI() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "api METHOD PATH [BODY]",
		Short: "Ask any operation of the console's API",
		Long: `Ask an operation that docs/API.md or /openapi.json describes, by its path below
/api/v1. BODY is JSON; - reads it from standard input. What the page can do, this
can: it asks the console that runs on the desk, or else does it itself.`,
		Example: "  tocsin api GET '/alerts/groups?by=source'\n  tocsin api GET '/export?set=alerts&format=csv' > alerts.csv\n  tocsin api POST /suppressions '{\"q\": \"rule.id: x\", \"reason\": \"known\", \"expires\": \"2027-01-31T00:00:00Z\"}'",
		Args:    cobra.RangeArgs(2, 3),
	}
	return with(cmd, true, func(c *client, args []string) error {
		var body any
		if len(args) == 3 {
			text := []byte(args[2])
			if args[2] == "-" {
				var err error
				if text, err = io.ReadAll(cmd.InOrStdin()); err != nil {
					return err
				}
			}
			body = json.RawMessage(text)
		}
		method, path := strings.ToUpper(args[0]), "/"+strings.TrimPrefix(strings.TrimPrefix(args[1], "/api/v1"), "/")
		if strings.HasPrefix(path, "/export") || strings.HasSuffix(path, "/stream") {
			in, err := c.ask(cmd.Context(), method, path, body)
			if err != nil {
				return err
			}
			defer in.Close()
			_, err = io.Copy(cmd.OutOrStdout(), in)
			return err
		}
		return c.tellJSON(cmd, method, path, body)
	})
}

func newUser() *cobra.Command {
	return group("user", "Say who may sign in to the console, and as what", newUserAdd(), newUserList(), newUserPasswd(), newUserRole(),
		newUserSwitch("disable", "Let users sign in no more, and end their sessions", true), newUserSwitch("enable", "Let users sign in again", false))
}

// askPassword reads a password from a file, from the terminal twice, or from
// the first line of standard input.
func askPassword(cmd *cobra.Command, file string) (string, error) {
	if file != "" {
		return secret("", file)
	}
	f, ok := cmd.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		line, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", err
		}
		if line = strings.TrimRight(line, "\r\n"); line == "" {
			return "", usagef("no password: give it on standard input or with --password-file")
		}
		return line, nil
	}
	var typed [2]string
	for i, prompt := range []string{"password: ", "again: "} {
		fmt.Fprint(cmd.ErrOrStderr(), prompt)
		b, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(cmd.ErrOrStderr())
		if err != nil {
			return "", err
		}
		typed[i] = string(b)
	}
	if typed[0] != typed[1] {
		return "", usagef("the two are not the same")
	}
	return typed[0], nil
}

func passwordFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("password-file", "", "`FILE` with the password; else it is asked for, or read from standard input")
}

func newUserAdd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "add NAME", Short: "Make a user",
		Long: `Make a user. The first is an administrator. Roles are viewer, analyst, responder,
auditor and administrator; a user may have several, and none contains another.`,
		Example: "  tocsin user add chen --role administrator\n  tocsin user add li --role analyst --role auditor --display '李'", Args: cobra.ExactArgs(1),
	}
	roles := cmd.Flags().StringSlice("role", nil, "`ROLE` of the user; may be repeated")
	display := cmd.Flags().String("display", "", "how the user is called on the page")
	file := passwordFlag(cmd)
	return with(cmd, false, func(c *client, args []string) error {
		password, err := askPassword(cmd, *file)
		if err != nil {
			return err
		}
		u, err := get[people.User](cmd.Context(), c, "POST", "/users", map[string]any{"name": args[0], "display": *display, "roles": append([]string{}, *roles...), "password": password})
		if err == nil {
			fmt.Fprintf(cmd.OutOrStdout(), "user %s: %s\n", u.Name, roleNames(u.Roles))
		}
		return err
	})
}

func roleNames(roles []people.Role) string {
	var list []string
	for _, r := range roles {
		list = append(list, string(r))
	}
	return dash(strings.Join(list, " "))
}

func newUserList() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List users", Example: "  tocsin user list", Args: cobra.NoArgs}
	return with(cmd, false, func(c *client, _ []string) error {
		list, err := get[listOf[people.User]](cmd.Context(), c, "GET", "/users", nil)
		if err != nil {
			return err
		}
		var rows [][]string
		for _, u := range list.Items {
			state, last := "active", ""
			if u.Disabled {
				state = "disabled"
			}
			if u.LastSignIn != nil {
				last = moment(*u.LastSignIn)
			}
			rows = append(rows, []string{u.Name, u.Display, roleNames(u.Roles), state, u.Source, moment(u.Created), last})
		}
		return table(cmd.OutOrStdout(), "NAME\tDISPLAY\tROLES\tSTATE\tSOURCE\tCREATED (UTC)\tLAST SIGN-IN", rows)
	})
}

func newUserPasswd() *cobra.Command {
	cmd := &cobra.Command{Use: "passwd NAME", Short: "Give a user another password, and end their sessions", Example: "  tocsin user passwd li", Args: cobra.ExactArgs(1)}
	file := passwordFlag(cmd)
	return with(cmd, false, func(c *client, args []string) error {
		password, err := askPassword(cmd, *file)
		if err != nil {
			return err
		}
		_, err = get[people.User](cmd.Context(), c, "PATCH", "/users/"+url.PathEscape(args[0]), map[string]any{"password": password})
		return err
	})
}

func newUserRole() *cobra.Command {
	cmd := &cobra.Command{Use: "role NAME [ROLE...]", Short: "Give a user these roles and no others, and end their sessions", Example: "  tocsin user role li analyst responder", Args: cobra.MinimumNArgs(1)}
	return with(cmd, false, func(c *client, args []string) error {
		u, err := get[people.User](cmd.Context(), c, "PATCH", "/users/"+url.PathEscape(args[0]), map[string]any{"roles": append([]string{}, args[1:]...)})
		if err == nil {
			fmt.Fprintf(cmd.OutOrStdout(), "user %s: %s\n", u.Name, roleNames(u.Roles))
		}
		return err
	})
}

func newUserSwitch(use, short string, disabled bool) *cobra.Command {
	cmd := &cobra.Command{Use: use + " NAME...", Short: short, Example: "  tocsin user " + use + " li", Args: cobra.MinimumNArgs(1)}
	return with(cmd, false, func(c *client, args []string) error {
		for _, name := range args {
			if _, err := get[people.User](cmd.Context(), c, "PATCH", "/users/"+url.PathEscape(name), map[string]any{"disabled": disabled}); err != nil {
				return err
			}
		}
		return nil
	})
}

func newToken() *cobra.Command {
	return group("token", "Make, list and revoke tokens with which programs ask the console", newTokenCreate(), newTokenList(), newTokenRevoke())
}

func newTokenCreate() *cobra.Command {
	cmd := &cobra.Command{Use: "create NAME", Short: "Make a token, and print its secret this once", Example: "  tocsin token create dashboard --user li --scope read --days 90", Args: cobra.ExactArgs(1)}
	user := cmd.Flags().String("user", "", "`NAME` of the user whose token it is")
	scopes := cmd.Flags().StringSlice("scope", []string{"read"}, "`PERMISSION` that it has, such as read, triage, export; may be repeated")
	days := cmd.Flags().Int("days", 90, "how many `DAYS` it lasts")
	return with(cmd, false, func(c *client, args []string) error {
		body := map[string]any{"name": args[0], "scopes": *scopes, "days": *days}
		if *user != "" {
			body["user"] = *user
		}
		t, err := get[struct{ Secret string }](cmd.Context(), c, "POST", "/tokens", body)
		if err == nil {
			fmt.Fprintln(cmd.OutOrStdout(), t.Secret)
		}
		return err
	})
}

func newTokenList() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List tokens", Example: "  tocsin token list", Args: cobra.NoArgs}
	return with(cmd, false, func(c *client, _ []string) error {
		list, err := get[listOf[people.Token]](cmd.Context(), c, "GET", "/tokens?all=true", nil)
		if err != nil {
			return err
		}
		var rows [][]string
		for _, t := range list.Items {
			scopes, last := "", ""
			for _, s := range t.Scopes {
				scopes += " " + string(s)
			}
			if t.LastUsed != nil {
				last = moment(*t.LastUsed)
			}
			rows = append(rows, []string{t.ID, t.Name, t.User, strings.TrimSpace(scopes), moment(t.Created), moment(t.Expires), last})
		}
		return table(cmd.OutOrStdout(), "ID\tNAME\tUSER\tSCOPES\tCREATED (UTC)\tEXPIRES\tLAST USED", rows)
	})
}

func newTokenRevoke() *cobra.Command {
	cmd := &cobra.Command{Use: "revoke ID...", Short: "Revoke tokens", Example: "  tocsin token revoke q3J1kLmNoPqR", Args: cobra.MinimumNArgs(1)}
	return with(cmd, false, func(c *client, args []string) error {
		for _, id := range args {
			in, err := c.ask(cmd.Context(), "DELETE", "/tokens/"+url.PathEscape(id), nil)
			if err != nil {
				return err
			}
			in.Close()
		}
		return nil
	})
}

func newAudit() *cobra.Command {
	return group("audit", "Read and verify the log of who decided, looked at and took away what", newAuditList(), newAuditVerify())
}

func newAuditList() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List the newest entries", Example: "  tocsin audit list --actor li --action 'alert.*'", Args: cobra.NoArgs}
	actor := cmd.Flags().String("actor", "", "only what `NAME` did")
	action := cmd.Flags().String("action", "", "only this `ACTION`, or with a * at its end all that begin so")
	limit := cmd.Flags().Int("limit", 100, "at most `N`, up to 1000")
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	return with(cmd, false, func(c *client, _ []string) error {
		path := "/audit?" + url.Values{"actor": {*actor}, "action": {*action}, "limit": {strconv.Itoa(*limit)}}.Encode()
		if *asJSON {
			return c.tellJSON(cmd, "GET", path, nil)
		}
		list, err := get[listOf[audit.Entry]](cmd.Context(), c, "GET", path, nil)
		if err != nil {
			return err
		}
		var rows [][]string
		for _, e := range list.Items {
			detail := ""
			if len(e.Detail) > 0 {
				text, err := json.Marshal(e.Detail)
				if err != nil {
					return err
				}
				detail = string(text)
			}
			rows = append(rows, []string{strconv.FormatUint(e.Seq, 10), moment(e.Time), e.Actor, e.Via, e.From, e.Action, e.Outcome, e.Target, detail})
		}
		return table(cmd.OutOrStdout(), "NO\tTIME (UTC)\tWHO\tVIA\tFROM\tACTION\tOUTCOME\tTARGET\tDETAIL", rows)
	})
}

func newAuditVerify() *cobra.Command {
	cmd := &cobra.Command{
		Use: "verify", Short: "Check that no line of the log was changed, removed or put elsewhere",
		Long: `Check the chain of hashes through the whole log, and its end. The head that is
printed stands for all lines until now: kept elsewhere and given again with
--known, it shows that the log is still the one that it was. Exit 1 if not.`,
		Example: "  tocsin audit verify\n  tocsin audit verify --known 5a0e…", Args: cobra.NoArgs,
	}
	known := cmd.Flags().String("known", "", "`HEAD` that an earlier verify printed")
	return with(cmd, false, func(c *client, _ []string) error {
		r, err := get[struct {
			Intact   bool
			Entries  int
			Head     string
			Problems []audit.Problem
		}](cmd.Context(), c, "GET", "/audit/verify?"+url.Values{"known": {*known}}.Encode(), nil)
		if err != nil {
			return err
		}
		for _, p := range r.Problems {
			fmt.Fprintf(cmd.ErrOrStderr(), "tocsin: line %d %s\n", p.Line, p.Text)
		}
		if !r.Intact {
			return errTold
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%d entries, intact; head %s\n", r.Entries, dash(r.Head))
		return nil
	})
}

func newTriage() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "triage [ALERT...]",
		Short: "Judge alerts: acknowledge, call true or false, assign; list and undo what was judged",
		Long: `Judge alerts by their ids, or all that a query finds. A verdict needs a reason,
and closes them.`,
		Example: `  tocsin triage 019cb73d329337dcdffc9c520dfb36c4 --status acknowledged
  tocsin triage --query 'rule.name: "Odd name"' --verdict false_positive --reason 'the backup server'
  tocsin triage list
  tocsin triage undo 00000007`,
	}
	q := cmd.Flags().String("query", "", "judge all alerts that `QUERY` finds, at most 10000")
	names := []string{"status", "verdict", "reason", "assignee"}
	helps := []string{"open, acknowledged or closed", "true_positive, false_positive or benign; empty takes it back", "why", "whose task it is; empty: nobody's"}
	flags := map[string]*string{}
	for i, n := range names {
		flags[n] = cmd.Flags().String(n, "", helps[i])
	}
	with(cmd, true, func(c *client, args []string) error {
		decision := map[string]string{}
		for n, v := range flags {
			if cmd.Flags().Changed(n) {
				decision[n] = *v
			}
		}
		body := map[string]any{"decision": decision}
		if *q != "" {
			body["selection"] = map[string]string{"q": *q}
		}
		if len(args) > 0 {
			body["ids"] = args
		}
		act, err := get[incident.Action](cmd.Context(), c, "POST", "/triage", body)
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "action %s: %d changed, %d were so before\n", act.ID, act.Changed, act.Unchanged)
		for _, f := range act.Failed {
			complain(cmd.ErrOrStderr(), fmt.Errorf("%s: %s", f.ID, f.Detail))
		}
		if len(act.Failed) > 0 {
			return errTold
		}
		return nil
	})
	list := &cobra.Command{Use: "list", Short: "List what was judged, the newest first", Example: "  tocsin triage list", Args: cobra.NoArgs}
	with(list, true, func(c *client, _ []string) error {
		acts, err := get[listOf[incident.Action]](list.Context(), c, "GET", "/triage?limit=200", nil)
		if err != nil {
			return err
		}
		var rows [][]string
		for _, a := range acts.Items {
			what, err := json.Marshal(a.Decision)
			if err != nil {
				return err
			}
			undone := ""
			if a.Undone {
				undone = "undone"
			}
			rows = append(rows, []string{a.ID, moment(a.At), a.By, strconv.Itoa(a.Changed), undone, string(what)})
		}
		return table(list.OutOrStdout(), "ACTION\tTIME (UTC)\tWHO\tALERTS\tUNDONE\tDECISION", rows)
	})
	undo := &cobra.Command{Use: "undo ACTION", Short: "Give alerts the judgement back that they had", Example: "  tocsin triage undo 00000007", Args: cobra.ExactArgs(1)}
	with(undo, true, func(c *client, args []string) error {
		r, err := get[struct {
			Restored int
			Kept     []string
		}](undo.Context(), c, "POST", "/triage/"+url.PathEscape(args[0])+"/undo", nil)
		if err == nil {
			fmt.Fprintf(undo.OutOrStdout(), "%d restored, %d judged anew since\n", r.Restored, len(r.Kept))
		}
		return err
	})
	cmd.AddCommand(list, undo)
	return cmd
}

func newSuppress() *cobra.Command {
	cmd := &cobra.Command{
		Use: "suppress QUERY", Short: "Keep alerts that match a query out of sight for some time; list and end that",
		Example: "  tocsin suppress 'rule.id: 29afe484 and source.ip: 10.0.0.5' --reason 'the scanner of the operator' --for 30d\n  tocsin suppress list\n  tocsin suppress end 000003",
		Args:    cobra.ExactArgs(1),
	}
	reason := cmd.Flags().String("reason", "", "why")
	var span lastValue
	cmd.Flags().Var(&span, "for", "how long: a `DURATION` such as 24h or 30d")
	with(cmd, true, func(c *client, args []string) error {
		if span == 0 {
			return usagef("suppress: want --for, such as --for 30d")
		}
		return c.tellJSON(cmd, "POST", "/suppressions", map[string]any{"q": args[0], "reason": *reason, "expires": time.Now().Add(time.Duration(span)).UTC()})
	})
	list := &cobra.Command{Use: "list", Short: "List what is not shown, why, and how often it would have been", Example: "  tocsin suppress list", Args: cobra.NoArgs}
	with(list, true, func(c *client, _ []string) error {
		all, err := get[listOf[struct {
			incident.Suppression
			Expired bool
			Hits    uint64
		}]](list.Context(), c, "GET", "/suppressions", nil)
		if err != nil {
			return err
		}
		var rows [][]string
		for _, s := range all.Items {
			rows = append(rows, []string{s.ID, moment(s.Expires), strconv.FormatUint(s.Hits, 10), s.By, s.Q, s.Reason})
		}
		return table(list.OutOrStdout(), "ID\tEXPIRES (UTC)\tALERTS\tWHO\tQUERY\tREASON", rows)
	})
	end := &cobra.Command{Use: "end ID...", Short: "Show alerts again", Example: "  tocsin suppress end 000003", Args: cobra.MinimumNArgs(1)}
	with(end, true, func(c *client, args []string) error {
		for _, id := range args {
			in, err := c.ask(end.Context(), "DELETE", "/suppressions/"+url.PathEscape(id), nil)
			if err != nil {
				return err
			}
			in.Close()
		}
		return nil
	})
	cmd.AddCommand(list, end)
	return cmd
}

func newSearches() *cobra.Command {
	list := &cobra.Command{Use: "list", Short: "List saved searches: your own, and those that are shared", Example: "  tocsin searches list", Args: cobra.NoArgs}
	with(list, false, func(c *client, _ []string) error {
		all, err := get[listOf[incident.Search]](list.Context(), c, "GET", "/searches", nil)
		if err != nil {
			return err
		}
		var rows [][]string
		for _, s := range all.Items {
			shared := "own"
			if s.Shared {
				shared = "shared"
			}
			rows = append(rows, []string{s.ID, s.Name, s.Set, s.By, shared, s.Q})
		}
		return table(list.OutOrStdout(), "ID\tNAME\tSET\tWHO\tSHARED\tQUERY", rows)
	})
	save := &cobra.Command{Use: "save NAME QUERY", Short: "Save a search", Example: "  tocsin searches save 'writes at night' 'ics.operation: write' --set events --shared", Args: cobra.ExactArgs(2)}
	set := save.Flags().String("set", "alerts", "`SET` that it looks at: alerts or events")
	shared := save.Flags().Bool("shared", false, "let all see it")
	with(save, false, func(c *client, args []string) error {
		return c.tellJSON(save, "POST", "/searches", map[string]any{"name": args[0], "q": args[1], "set": *set, "shared": *shared})
	})
	del := &cobra.Command{Use: "delete ID...", Short: "Forget saved searches", Example: "  tocsin searches delete 000002", Args: cobra.MinimumNArgs(1)}
	with(del, false, func(c *client, args []string) error {
		for _, id := range args {
			in, err := c.ask(del.Context(), "DELETE", "/searches/"+url.PathEscape(id), nil)
			if err != nil {
				return err
			}
			in.Close()
		}
		return nil
	})
	rule := &cobra.Command{Use: "rule TITLE QUERY", Short: "Write a Sigma rule that matches what a query matches", Example: "  tocsin searches rule 'Write to the PLC' 'ics.operation: write and destination.ip: 10.50.0.11' > rule.yml", Args: cobra.ExactArgs(2)}
	level := rule.Flags().String("level", "medium", "`LEVEL` of its alerts")
	with(rule, false, func(c *client, args []string) error {
		r, err := get[struct {
			YAML    string
			LeftOut []string `json:"left_out"`
		}](rule.Context(), c, "POST", "/searches/rule", map[string]any{"title": args[0], "q": args[1], "level": *level})
		if err != nil {
			return err
		}
		for _, l := range r.LeftOut {
			fmt.Fprintf(rule.ErrOrStderr(), "tocsin: %s\n", l)
		}
		_, err = io.WriteString(rule.OutOrStdout(), r.YAML)
		return err
	})
	return group("searches", "Save searches, and make rules of them", list, save, del, rule)
}
