package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tocsin/tocsin/event"
	disclose "github.com/tocsin/tocsin/share"
	"github.com/tocsin/tocsin/share/blocklist"
	"github.com/tocsin/tocsin/share/misp"
	"github.com/tocsin/tocsin/share/taxii"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/embedded"
	"github.com/tocsin/tocsin/trace"
	"github.com/tocsin/tocsin/trace/csv"
	"github.com/tocsin/tocsin/trace/graph"
	tracejson "github.com/tocsin/tocsin/trace/json"
	"github.com/tocsin/tocsin/trace/stix"
	"github.com/tocsin/tocsin/trace/tlp"
)

func newShare() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "share",
		Short: "Share cases with others: what each may see, by label, class and pseudonym",
		Long: `Share the trace of an attack with others. A policy (YAML) says who may have what:

  own: [203.0.113.0/24]          # our networks; private ones always are
  marking: AMBER                 # of a case, unless --tlp says otherwise
  markings:                      # what is marked higher than the rest
    - {tlp: RED, networks: [10.50.0.0/16], names: [plc1], rules: [RULE-ID]}
  recipients:
    - name: sector-cert
      clearance: AMBER           # the highest label that they may have
      classes: [topology]        # data classes that they may know; addresses and
                                 # names are pseudonyms without topology
      precision: 1s              # of times
      token: 9f86d081884c7d65…   # SHA-256 of their token, for TAXII; tocsin share token

What is marked higher than the clearance is left out, and so is every text that
is not known to be fit. preview shows exactly what a recipient will get; release
puts it into their collection; serve hands collections out by TAXII 2.1.`,
		Example: "  tocsin share preview 10.3.0.10 --to sector-cert\n  tocsin share release 10.3.0.10 --to sector-cert --by 'duty officer'\n  tocsin share serve --taxii-listen 127.0.0.1:8445",
	}
	cmd.AddCommand(newSharePreview(), newShareRelease(), newShareList(), newShareRecall(), newShareServe(), newShareToken(), newBlocklist())
	return cmd
}

// sharing are the flags of all that is about sharing.
type sharing struct{ policy, shelf *string }

func sharingFlags(cmd *cobra.Command) sharing {
	return sharing{
		policy: cmd.Flags().String("share-policy", "share.yml", "`FILE` that says who may have what, YAML"),
		shelf:  cmd.Flags().String("shelf", filepath.Join("data", "shared"), "`DIR` of what was released, and of the key that pseudonyms are made under"),
	}
}

// disclosure are the flags of preview and release.
type disclosure struct {
	sharing
	where    storing
	to, mark *string
	from     *timeValue
	until    *timeValue
}

func disclosureFlags(cmd *cobra.Command) disclosure {
	return disclosure{
		sharing: sharingFlags(cmd), where: storeFlags(cmd),
		to:    cmd.Flags().String("to", "", "`RECIPIENT`, as the policy names them"),
		mark:  cmd.Flags().String("tlp", "", "`LABEL` of the case: CLEAR, GREEN, AMBER, AMBER+STRICT, RED; that of the policy if not given"),
		from:  timeFlag(cmd, "from", "look at events from this `TIME` on (RFC 3339)"),
		until: timeFlag(cmd, "until", "look at events before this `TIME` (RFC 3339)"),
	}
}

// make builds the trace, and what the recipient sees of it.
func (d disclosure) make(cmd *cobra.Command, seed string) (*disclose.Released, *disclose.Recipient, *disclose.Shelf, error) {
	p, err := disclose.Load(*d.policy)
	if err != nil {
		return nil, nil, nil, usageError{fmt.Errorf("--share-policy: %w", err)}
	}
	to, err := p.Recipient(*d.to)
	if err != nil {
		return nil, nil, nil, usageError{fmt.Errorf("--to: %w", err)}
	}
	marking := p.Marking
	if *d.mark != "" {
		if marking, err = tlp.Parse(*d.mark); err != nil {
			return nil, nil, nil, usageError{err}
		}
	}
	from := trace.Seed{From: time.Time(*d.from), To: time.Time(*d.until)}
	if id, err := event.ParseID(seed); err == nil {
		from.Alert = id
	} else if a, err := netip.ParseAddr(seed); err == nil {
		from.Address = a
	} else {
		return nil, nil, nil, usagef("%q is neither the identifier of an alert nor an address", seed)
	}
	shelf, err := disclose.OpenShelf(*d.shelf)
	if err != nil {
		return nil, nil, nil, err
	}
	master, err := shelf.Master()
	if err != nil {
		return nil, nil, nil, err
	}
	lens, err := p.Lens(to, master)
	if err != nil {
		return nil, nil, nil, err
	}
	s, err := d.where.open(cmd.Context(), embedded.ReadOnly)
	if err != nil {
		return nil, nil, nil, err
	}
	defer s.Close()
	t, err := trace.Build(cmd.Context(), s, from)
	if errors.Is(err, store.ErrNotFound) {
		fmt.Fprintf(cmd.ErrOrStderr(), "tocsin: %v\n", err)
		return nil, nil, nil, errNothing
	}
	if err != nil {
		return nil, nil, nil, err
	}
	r, err := lens.Release(t, marking, func(id event.ID) (event.Alert, bool) { return storedAlert(cmd.Context(), s, id.String()) })
	return r, to, shelf, err
}

func sharedFormats(marking tlp.Level) []trace.Format {
	marked := func(f trace.Format, write func(io.Writer, *trace.Trace, tlp.Level) error) trace.Format {
		f.Write = func(w io.Writer, t *trace.Trace) error { return write(w, t, marking) }
		return f
	}
	return []trace.Format{marked(stix.Format, stix.Write), marked(misp.Format, misp.Write), tracejson.Format, csv.Format, graph.SVG, graph.GraphML, graph.DOT}
}

func newSharePreview() *cobra.Command {
	cmd := &cobra.Command{
		Use: "preview ALERT-ID|ADDRESS", Short: "Show exactly what a recipient would get", Args: cobra.ExactArgs(1),
		Example: "  tocsin share preview 10.3.0.10 --to sector-cert\n  tocsin share preview 10.3.0.10 --to sector-cert --format misp -o event.json",
	}
	d := disclosureFlags(cmd)
	var names []string
	for _, f := range sharedFormats(tlp.Clear) {
		names = append(names, f.Name)
	}
	format := cmd.Flags().String("format", "stix", "`FORMAT`: "+strings.Join(names, ", "))
	output := cmd.Flags().StringP("output", "o", "-", "`FILE` to write, - for standard output")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !slices.Contains(names, *format) {
			return usagef("format %q: want one of %s", *format, strings.Join(names, ", "))
		}
		r, to, _, err := d.make(cmd, args[0])
		if err != nil {
			return err
		}
		fs := sharedFormats(r.Marking)
		f := fs[slices.IndexFunc(fs, func(f trace.Format) bool { return f.Name == *format })]
		fmt.Fprintf(cmd.ErrOrStderr(), "tocsin: for %s: %s, %d addresses are pseudonyms, %d hops and steps are withheld\n", to.Name, r.Marking, r.Pseudonyms, r.Withheld)
		return writeTo(*output, cmd.OutOrStdout(), func(w io.Writer) error { return f.Write(w, r.Trace) })
	}
	return cmd
}

func newShareRelease() *cobra.Command {
	cmd := &cobra.Command{
		Use: "release ALERT-ID|ADDRESS", Short: "Put what a recipient may see into their collection", Args: cobra.ExactArgs(1),
		Example: "  tocsin share release 10.3.0.10 --to sector-cert --by 'duty officer'",
	}
	d := disclosureFlags(cmd)
	by := cmd.Flags().String("by", "", "`WHO` releases it, for the list")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r, to, shelf, err := d.make(cmd, args[0])
		if err != nil {
			return err
		}
		e, err := shelf.Put(to, args[0], r, *by, time.Now())
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s released to %s: %s, %d addresses are pseudonyms, %d hops and steps are withheld\n", e.ID, to.Name, r.Marking, r.Pseudonyms, r.Withheld)
		return nil
	}
	return cmd
}

func newShareList() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List what was released, to whom, and what was recalled", Args: cobra.NoArgs, Example: "  tocsin share list --to sector-cert"}
	f := sharingFlags(cmd)
	to := cmd.Flags().String("to", "", "only what `RECIPIENT` was given")
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		shelf, err := disclose.OpenShelf(*f.shelf)
		if err != nil {
			return err
		}
		list, err := shelf.List(*to)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return errNothing
		}
		if *asJSON {
			e := json.NewEncoder(cmd.OutOrStdout())
			e.SetIndent("", "  ")
			return e.Encode(list)
		}
		w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
		for _, e := range list {
			state := ""
			if !e.Recalled.IsZero() {
				state = "recalled " + e.Recalled.Format(time.RFC3339) + " " + e.Why
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", e.ID, e.At.Format(time.RFC3339), e.Recipient, e.Marking, e.Seed, state)
		}
		return w.Flush()
	}
	return cmd
}

func newShareRecall() *cobra.Command {
	cmd := &cobra.Command{
		Use: "recall RELEASE", Short: "Take a release back: its objects are told as revoked from now on", Args: cobra.ExactArgs(1),
		Example: "  tocsin share recall r-0123456789ab --why 'wrong source'",
	}
	f := sharingFlags(cmd)
	why := cmd.Flags().String("why", "", "`REASON`, for the list")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		shelf, err := disclose.OpenShelf(*f.shelf)
		if err != nil {
			return err
		}
		return shelf.Recall(args[0], *why, time.Now())
	}
	return cmd
}

func newShareToken() *cobra.Command {
	return &cobra.Command{
		Use: "token", Short: "Make a token for a recipient, and what the policy has to say of it", Args: cobra.NoArgs, Example: "  tocsin share token",
		RunE: func(cmd *cobra.Command, _ []string) error {
			b := make([]byte, 20)
			rand.Read(b) // never fails
			token := strings.ToLower(base32.StdEncoding.EncodeToString(b))
			fmt.Fprintf(cmd.OutOrStdout(), "for the recipient:  %s\nfor the policy:     token: %x\n", token, sha256.Sum256([]byte(token)))
			return nil
		},
	}
}

func newShareServe() *cobra.Command {
	cmd := &cobra.Command{
		Use: "serve", Short: "Hand out collections by TAXII 2.1, to each recipient their own", Args: cobra.NoArgs,
		Example: "  tocsin share serve --taxii-listen 0.0.0.0:8445 --taxii-cert cert.pem --taxii-key key.pem",
	}
	f := sharingFlags(cmd)
	listen := cmd.Flags().String("taxii-listen", "127.0.0.1:8445", "`ADDRESS` of the server; beyond loopback with TLS only")
	cert := cmd.Flags().String("taxii-cert", "", "`FILE` with the server's certificate and those up to its authority, PEM")
	key := cmd.Flags().String("taxii-key", "", "`FILE` with the certificate's key, PEM")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if (*cert == "") != (*key == "") {
			return usagef("--taxii-cert and --taxii-key: want both or none")
		}
		if !loopback(*listen) && *cert == "" {
			return usagef("--taxii-listen %s: beyond loopback want --taxii-cert and --taxii-key", *listen)
		}
		p, err := disclose.Load(*f.policy)
		if err != nil {
			return usageError{fmt.Errorf("--share-policy: %w", err)}
		}
		shelf, err := disclose.OpenShelf(*f.shelf)
		if err != nil {
			return err
		}
		l, err := listenOn(*listen)
		if err != nil {
			return err
		}
		var now atomic.Pointer[disclose.Policy]
		now.Store(p)
		s := &taxii.Server{Policy: now.Load, Shelf: shelf, Title: "Tocsin", Log: func(who, path string, status int) {
			fmt.Fprintf(cmd.ErrOrStderr(), "%s %q %s %d\n", time.Now().UTC().Format(time.RFC3339), who, path, status)
		}}
		ctx := cmd.Context()
		srv := &http.Server{
			Handler: s.Handler(), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: 5 * time.Minute, IdleTimeout: 2 * time.Minute,
			MaxHeaderBytes: 64 << 10, BaseContext: func(net.Listener) context.Context { return ctx },
		}
		stop := context.AfterFunc(ctx, func() { srv.Close() })
		defer stop()
		fmt.Fprintf(cmd.OutOrStdout(), "TAXII at %s/taxii2/\n", l.Addr())
		go watchPolicy(ctx, *f.policy, &now, cmd.ErrOrStderr())
		if *cert != "" {
			err = srv.ServeTLS(l, *cert, *key)
		} else {
			err = srv.Serve(l)
		}
		if !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("taxii: %w", err)
		}
		return nil
	}
	return cmd
}

// watchPolicy takes a policy on when its file has changed; one that is wrong
// changes nothing.
func watchPolicy(ctx context.Context, path string, now *atomic.Pointer[disclose.Policy], errs io.Writer) {
	looks := time.NewTicker(reloading)
	defer looks.Stop()
	last := modified(path)
	for {
		select {
		case <-ctx.Done():
			return
		case <-looks.C:
		}
		at := modified(path)
		if at.Equal(last) {
			continue
		}
		last = at
		if p, err := disclose.Load(path); err != nil {
			complain(errs, fmt.Errorf("the policy has changed, and is wrong; the one from before stays in force: %w", err))
		} else {
			now.Store(p)
		}
	}
}

func modified(path string) time.Time {
	info, err := os.Stat(path)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

func newBlocklist() *cobra.Command {
	cmd := &cobra.Command{
		Use: "blocklist", Short: "List the sources of attacks that people judged to be true, for firewalls and sensors", Args: cobra.NoArgs,
		Long: `List the outside sources of alerts that people judged to be true positives, and what
reputation lists name in them, as plain lines, CSV, an nftables table whose
elements expire by themselves, or IP reputation for Suricata. An entry expires
so long after the last attack. The networks of the policy are never listed.`,
		Example: "  tocsin share blocklist --format nft | nft -f -\n  tocsin share blocklist --format iprep --valid 336h -o attackers.list",
	}
	past, f := pastFlags(cmd), sharingFlags(cmd)
	var names []string
	for _, x := range blocklist.Formats() {
		names = append(names, x.Name)
	}
	format := cmd.Flags().String("format", "plain", "`FORMAT`: "+strings.Join(names, ", "))
	valid := cmd.Flags().Duration("valid", 30*24*time.Hour, "`TIME` after the last attack until which an entry is listed")
	at := timeFlag(cmd, "at", "list as it was at this `TIME` (RFC 3339); now if not given")
	output := cmd.Flags().StringP("output", "o", "-", "`FILE` to write, - for standard output")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		i := slices.Index(names, *format)
		if i < 0 {
			return usagef("format %q: want one of %s", *format, strings.Join(names, ", "))
		}
		rules := blocklist.Rules{Now: time.Time(*at), Valid: *valid}
		if rules.Now.IsZero() {
			rules.Now = time.Now()
		}
		p, err := disclose.Load(*f.policy)
		switch {
		case err == nil:
			rules.Keep = func(a netip.Addr) bool {
				return slices.ContainsFunc(p.Own, func(n netip.Prefix) bool { return n.Contains(a) })
			}
		case cmd.Flags().Changed("share-policy") || !errors.Is(err, os.ErrNotExist):
			return usageError{fmt.Errorf("--share-policy: %w", err)}
		}
		s, q, err := past.open(cmd.Context(), "tocsin.alert.verdict: true_positive")
		if err != nil {
			return err
		}
		defer s.Close()
		q.Set = store.Alerts
		b := blocklist.New(rules)
		for e, err := range s.Search(cmd.Context(), q) {
			if err != nil {
				return err
			}
			a, err := event.AlertOf(&e)
			if err != nil {
				return err
			}
			b.Add(&a)
		}
		return writeTo(*output, cmd.OutOrStdout(), func(w io.Writer) error {
			return blocklist.Formats()[i].Write(w, rules.Now, b.Entries())
		})
	}
	return cmd
}
