package main

import (
	"fmt"
	"io"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/tocsin/tocsin/incident"
)

func newIncident() *cobra.Command {
	return group("incident", "Begin, change, merge, split and hand over incidents", newIncidentList(), newIncidentCreate(),
		newIncidentGet("show", "Show an incident", ""), newIncidentGet("timeline", "Show what the sensors saw and what people did, by time", "/timeline"),
		newIncidentEdit(), newIncidentLink(), newIncidentPin(), newIncidentComment(), newIncidentTask(), newIncidentMerge(), newIncidentSplit(), newIncidentReport(), newIncidentTypes())
}

func incidentPath(id, rest string) string { return "/incidents/" + url.PathEscape(id) + rest }

// told prints what became of an incident, in a line.
func told(cmd *cobra.Command, i incident.Incident, err error) error {
	if err == nil {
		fmt.Fprintf(cmd.OutOrStdout(), "incident %s: %s, severity %d, owner %s, %d alerts, %d assets, %d pins: %s\n",
			i.ID, i.State, i.Severity, dash(i.Owner), len(i.Alerts), len(i.Assets), len(i.Pins), i.Title)
	}
	return err
}

func newIncidentList() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List incidents, the one that changed last first", Example: "  tocsin incident list --state open", Args: cobra.NoArgs}
	state := cmd.Flags().String("state", "", "only those in this `STATE`: report, assess, respond, recover, learn, closed; open for all but closed")
	owner := cmd.Flags().String("owner", "", "only those of `NAME`")
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	return with(cmd, true, func(c *client, _ []string) error {
		path := "/incidents?" + url.Values{"state": {*state}, "owner": {*owner}, "limit": {"500"}}.Encode()
		if *asJSON {
			return c.tellJSON(cmd, "GET", path, nil)
		}
		list, err := get[listOf[incident.Incident]](cmd.Context(), c, "GET", path, nil)
		if err != nil {
			return err
		}
		var rows [][]string
		for _, i := range list.Items {
			open := 0
			for _, t := range i.Tasks {
				if !t.Done {
					open++
				}
			}
			rows = append(rows, []string{i.ID, i.State, strconv.Itoa(i.Severity), i.Owner, strconv.Itoa(len(i.Alerts)), strconv.Itoa(open), moment(i.Changed), i.Title})
		}
		return table(cmd.OutOrStdout(), "ID\tSTATE\tSEVERITY\tOWNER\tALERTS\tTASKS\tCHANGED (UTC)\tTITLE", rows)
	})
}

func newIncidentCreate() *cobra.Command {
	cmd := &cobra.Command{Use: "create TITLE [ALERT...]", Short: "Begin an incident", Example: "  tocsin incident create 'Writes to the pump station' 019cb73d329337dcdffc9c520dfb36c4 --type ot_manipulation", Args: cobra.MinimumNArgs(1)}
	kind := cmd.Flags().String("type", "other", "`TYPE` of the incident; see tocsin incident types")
	summary := cmd.Flags().String("summary", "", "what happened")
	assets := cmd.Flags().StringSlice("asset", nil, "`ADDRESS` or name of an asset that is touched; may be repeated")
	return with(cmd, true, func(c *client, args []string) error {
		i, err := get[incident.Incident](cmd.Context(), c, "POST", "/incidents", map[string]any{
			"title": args[0], "type": *kind, "summary": *summary, "alerts": append([]string{}, args[1:]...), "assets": append([]string{}, *assets...),
		})
		return told(cmd, i, err)
	})
}

func newIncidentGet(use, short, rest string) *cobra.Command {
	cmd := &cobra.Command{Use: use + " ID", Short: short, Example: "  tocsin incident " + use + " 2026-0001", Args: cobra.ExactArgs(1)}
	return with(cmd, true, func(c *client, args []string) error {
		return c.tellJSON(cmd, "GET", incidentPath(args[0], rest), nil)
	})
}

func newIncidentEdit() *cobra.Command {
	cmd := &cobra.Command{Use: "edit ID", Short: "Change an incident's state, owner and the like", Example: "  tocsin incident edit 2026-0001 --state respond --owner li", Args: cobra.ExactArgs(1)}
	flags := map[string]*string{}
	for _, f := range [][2]string{
		{"title", "what it is called"}, {"type", "its kind"}, {"summary", "what happened"}, {"lessons", "what was learnt; closing it needs them"},
		{"owner", "whose it is"}, {"state", "report, assess, respond, recover, learn or closed"},
	} {
		flags[f[0]] = cmd.Flags().String(f[0], "", f[1])
	}
	severity := cmd.Flags().Int("severity", 0, "how bad, 1 to 100")
	return with(cmd, true, func(c *client, args []string) error {
		body := map[string]any{}
		for n, v := range flags {
			if cmd.Flags().Changed(n) {
				body[n] = *v
			}
		}
		if cmd.Flags().Changed("severity") {
			body["severity"] = *severity
		}
		i, err := get[incident.Incident](cmd.Context(), c, "PATCH", incidentPath(args[0], ""), body)
		return told(cmd, i, err)
	})
}

func newIncidentLink() *cobra.Command {
	cmd := &cobra.Command{Use: "link ID [ALERT...]", Short: "Link alerts and assets to an incident, or take them off", Example: "  tocsin incident link 2026-0001 019cb73d329337dcdffc9c520dfb36c4 --asset 10.50.0.11", Args: cobra.MinimumNArgs(1)}
	assets := cmd.Flags().StringSlice("asset", nil, "`ADDRESS` or name of an asset; may be repeated")
	remove := cmd.Flags().Bool("remove", false, "take them off")
	return with(cmd, true, func(c *client, args []string) error {
		i, err := get[incident.Incident](cmd.Context(), c, "POST", incidentPath(args[0], "/links"),
			map[string]any{"alerts": append([]string{}, args[1:]...), "assets": append([]string{}, *assets...), "remove": *remove})
		return told(cmd, i, err)
	})
}

func newIncidentPin() *cobra.Command {
	cmd := &cobra.Command{Use: "pin ID EVENT...", Short: "Keep the evidence of events until the incident is closed", Example: "  tocsin incident pin 2026-0001 019cb73d329337dcdffc9c520dfb36c4", Args: cobra.MinimumNArgs(2)}
	remove := cmd.Flags().Bool("remove", false, "release it")
	return with(cmd, true, func(c *client, args []string) error {
		i, err := get[incident.Incident](cmd.Context(), c, "POST", incidentPath(args[0], "/pins"), map[string]any{"events": args[1:], "remove": *remove})
		return told(cmd, i, err)
	})
}

func newIncidentComment() *cobra.Command {
	cmd := &cobra.Command{Use: "comment ID TEXT", Short: "Comment on an incident; - reads the text from standard input", Example: "  tocsin incident comment 2026-0001 'called the operator: not theirs'", Args: cobra.ExactArgs(2)}
	return with(cmd, true, func(c *client, args []string) error {
		text := args[1]
		if text == "-" {
			b, err := io.ReadAll(cmd.InOrStdin())
			if err != nil {
				return err
			}
			text = string(b)
		}
		i, err := get[incident.Incident](cmd.Context(), c, "POST", incidentPath(args[0], "/comments"), map[string]any{"text": text})
		return told(cmd, i, err)
	})
}

func newIncidentTask() *cobra.Command {
	cmd := &cobra.Command{Use: "task ID [NUMBER|TITLE]", Short: "List tasks, add one, or do one", Example: "  tocsin incident task 2026-0001\n  tocsin incident task 2026-0001 'Call the operator'\n  tocsin incident task 2026-0001 3 --done", Args: cobra.RangeArgs(1, 2)}
	done := cmd.Flags().Bool("done", false, "it is done; --done=false: it is not")
	note := cmd.Flags().String("note", "", "what to say of it")
	assignee := cmd.Flags().String("assignee", "", "`NAME` of whose task it is")
	return with(cmd, true, func(c *client, args []string) error {
		i, err := incident.Incident{}, error(nil)
		switch {
		case len(args) == 1:
			i, err = get[incident.Incident](cmd.Context(), c, "GET", incidentPath(args[0], ""), nil)
		default:
			if n, bad := strconv.Atoi(args[1]); bad == nil {
				body := map[string]any{}
				if cmd.Flags().Changed("done") {
					body["done"] = *done
				}
				if cmd.Flags().Changed("note") {
					body["note"] = *note
				}
				if cmd.Flags().Changed("assignee") {
					body["assignee"] = *assignee
				}
				i, err = get[incident.Incident](cmd.Context(), c, "PATCH", incidentPath(args[0], "/tasks/"+strconv.Itoa(n)), body)
				break
			}
			i, err = get[incident.Incident](cmd.Context(), c, "POST", incidentPath(args[0], "/tasks"), map[string]any{"title": args[1]})
		}
		if err != nil {
			return err
		}
		var rows [][]string
		for _, t := range i.Tasks {
			state := "to do"
			if t.Done {
				state = "done by " + t.By
			}
			rows = append(rows, []string{strconv.Itoa(t.ID), t.Phase, state, t.Assignee, t.Title.En, t.Note})
		}
		return table(cmd.OutOrStdout(), "NO\tPHASE\tSTATE\tASSIGNEE\tTASK\tNOTE", rows)
	})
}

func newIncidentMerge() *cobra.Command {
	cmd := &cobra.Command{Use: "merge ID FROM...", Short: "Take other incidents into one, and close those", Example: "  tocsin incident merge 2026-0001 2026-0002", Args: cobra.MinimumNArgs(2)}
	return with(cmd, true, func(c *client, args []string) error {
		i, err := get[incident.Incident](cmd.Context(), c, "POST", incidentPath(args[0], "/merge"), map[string]any{"from": args[1:]})
		return told(cmd, i, err)
	})
}

func newIncidentSplit() *cobra.Command {
	cmd := &cobra.Command{Use: "split ID TITLE ALERT...", Short: "Move alerts to a new incident", Example: "  tocsin incident split 2026-0001 'Scans from outside' 019cb73d329337dcdffc9c520dfb36c4", Args: cobra.MinimumNArgs(3)}
	return with(cmd, true, func(c *client, args []string) error {
		i, err := get[incident.Incident](cmd.Context(), c, "POST", incidentPath(args[0], "/split"), map[string]any{"title": args[1], "alerts": args[2:]})
		return told(cmd, i, err)
	})
}

func newIncidentReport() *cobra.Command {
	cmd := &cobra.Command{Use: "report ID", Short: "Write everything about an incident for whoever takes it over", Example: "  tocsin incident report 2026-0001 --lang zh > handover.html", Args: cobra.ExactArgs(1)}
	format := cmd.Flags().String("format", "html", "`FORMAT`: html or json")
	lang := cmd.Flags().String("lang", "en", "`LANGUAGE`: en or zh")
	return with(cmd, true, func(c *client, args []string) error {
		return c.tellJSON(cmd, "GET", incidentPath(args[0], "/report?"+url.Values{"format": {*format}, "lang": {*lang}}.Encode()), nil)
	})
}

func newIncidentTypes() *cobra.Command {
	cmd := &cobra.Command{Use: "types", Short: "List kinds of incidents with their check-lists", Example: "  tocsin incident types", Args: cobra.NoArgs}
	return with(cmd, false, func(c *client, _ []string) error { return c.tellJSON(cmd, "GET", "/incident-types", nil) })
}
