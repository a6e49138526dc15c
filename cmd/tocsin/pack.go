package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/tocsin/tocsin/correlator/sigma"
	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/rules"
	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/capture/merge"
	"github.com/tocsin/tocsin/sensor/capture/pcapng"
	"github.com/tocsin/tocsin/sensor/evidence"
	"github.com/tocsin/tocsin/share/misp"
	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/trace"
	"github.com/tocsin/tocsin/trace/all"
	"github.com/tocsin/tocsin/trace/pack"
	"github.com/tocsin/tocsin/trace/tlp"
)

// Formats that are made of more than a trace.
const (
	formatPackets = "pcap"
	formatPackage = "package"
)

func traceFormats() []string {
	return append(all.Names(), misp.Format.Name, formatPackets, formatPackage)
}

// findFormat finds a format that is made of a trace alone.
func findFormat(name string) (trace.Format, error) {
	if name == misp.Format.Name {
		return misp.Format, nil
	}
	return all.Find(name)
}

// packing are the flags of packages.
type packing struct {
	cmd          *cobra.Command
	where        storing
	captures     *[]string
	vaults       *[]string
	asking       vaultFlags
	rules        ruleset
	marking, key *string
	by           *string
}

func packingFlags(cmd *cobra.Command, where storing) packing {
	return packing{
		cmd: cmd, where: where,
		captures: cmd.Flags().StringArrayP("read", "r", nil, "capture `FILE` to take packets from, for pcap and package; its name is the sensor's, as when it was replayed; may be repeated"),
		vaults:   cmd.Flags().StringArray("evidence", nil, "where packets are kept: the `FROM` of tocsin evidence, a folder or the address of a sensor; may be repeated"),
		asking:   askingFlags(cmd),
		rules:    rulesetFlags(cmd),
		marking:  cmd.Flags().String("tlp", "AMBER", "`LABEL` of a package: CLEAR, GREEN, AMBER, AMBER+STRICT, RED"),
		by:       cmd.Flags().String("by", "", "`WHO` makes the package, as it is to say"),
		key:      cmd.Flags().String("sign-key", "", "`FILE` with the Ed25519 key that signs packages, PEM; made if it is not there; package-key.pem in DIR of the embedded store if not given"),
	}
}

// prepare makes a case of a trace. What is wrong with captures or key is said
// before anything is written.
func (p packing) prepare(t *trace.Trace, s store.Store, format string) (*pack.Case, error) {
	c := &pack.Case{Trace: t, Store: s, By: *p.by, Version: buildVersion(), Without: "neither captures (-r) nor rings (--evidence) were given"}
	var err error
	if c.Marking, err = tlp.Parse(*p.marking); err != nil {
		return nil, usageError{err}
	}
	if len(*p.captures)+len(*p.vaults) > 0 {
		for _, path := range *p.captures {
			if info, err := os.Stat(path); err != nil {
				return nil, err
			} else if info.IsDir() {
				return nil, usagef("-r %s: want capture files, not a folder", path)
			}
		}
		c.Without, c.Packets = "", p.packets
	} else if format == formatPackets {
		return nil, usagef("--format pcap: give the captures to take packets from with -r, or where they are kept with --evidence")
	}
	if format == formatPackage {
		if c.Key, err = p.signer(); err != nil {
			return nil, err
		}
		if c.Rule, err = p.ruleTexts(); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (p packing) write(ctx context.Context, w io.Writer, c *pack.Case, format string) error {
	if format == formatPackage {
		return pack.Write(ctx, w, c)
	}
	n, err := pack.WritePackets(ctx, w, c)
	if err == nil && n == 0 {
		complain(p.cmd.ErrOrStderr(), errors.New("none of the captures has packets of the trace's sessions; the sensor's name is that of the file"))
	}
	return err
}

// packets takes the packets of sessions from the captures.
func (p packing) packets(ctx context.Context, w io.Writer, sessions []pack.Session) (counts []uint64, broken []string, err error) {
	wanted := make([]evidence.Session, len(sessions))
	for i := range sessions {
		wanted[i] = evidence.SessionOf(&sessions[i].Event)
		wanted[i].Comment = sessions[i].Comment
	}
	var sources []capture.Source
	defer func() {
		for _, src := range sources {
			err = errors.Join(err, src.Close())
		}
	}()
	for _, place := range *p.vaults {
		if len(wanted) == 0 {
			break
		}
		v, err := p.asking.open(place)
		if err != nil {
			return nil, nil, err
		}
		told, still := transfer(p.cmd.ErrOrStderr())
		src, report, err := v.fetched(ctx, wanted, told)
		still()
		if err != nil { // the package is made of what there is, and says what is not
			complain(p.cmd.ErrOrStderr(), err)
			broken = append(broken, err.Error())
			continue
		}
		tellReport(p.cmd.ErrOrStderr(), report)
		broken = append(broken, report.Broken...)
		sources = append(sources, src)
	}
	if len(*p.captures) > 0 {
		src, err := openCaptures(openInputs(ctx, *p.captures, p.cmd.InOrStdin()))
		if err != nil {
			return nil, nil, err
		}
		sources = append(sources, src)
	}
	src := merge.New(sources...)
	out := pcapng.NewWriter(w, "Tocsin "+buildVersion(), "packets of the sessions of an attack trace")
	taken := evidence.Taken{Counts: make([]uint64, len(sessions))}
	if err := evidence.Want(wanted).Take(ctx, src, out, &taken); err != nil {
		return nil, nil, err
	}
	return taken.Counts, append(broken, taken.Broken...), out.Close()
}

// ruleTexts finds the text of a rule by its identifier.
func (p packing) ruleTexts() (func(event.Rule) (pack.RuleText, bool), error) {
	texts := map[string]pack.RuleText{}
	correlated := map[string][]string{}
	add := func(rs []*sigma.Rule, read func(file string) ([]byte, error)) error {
		for _, r := range rs {
			text, err := read(r.File)
			if err != nil {
				return fmt.Errorf("rules: %w", err)
			}
			t := pack.RuleText{ID: r.ID, Text: text}
			texts[r.ID] = t
			if r.Name != "" {
				texts[r.Name] = t
			}
			if r.Correlation != nil {
				correlated[r.ID] = r.Correlation.Rules
			}
		}
		return nil
	}
	folder := func(from fs.FS) error {
		rs, _ := sigma.ParseFS(from) // what is wrong did not fire
		return add(rs, func(file string) ([]byte, error) { return fs.ReadFile(from, file) })
	}
	if err := folder(rules.FS); err != nil {
		return nil, err
	}
	for _, path := range *p.rules.paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("rules: %w", err)
		}
		if info.IsDir() {
			err = folder(os.DirFS(path))
		} else if text, readErr := os.ReadFile(path); readErr != nil {
			err = readErr
		} else {
			rs, _ := sigma.Parse(path, text)
			err = add(rs, func(string) ([]byte, error) { return text, nil })
		}
		if err != nil {
			return nil, err
		}
	}
	return func(r event.Rule) (pack.RuleText, bool) {
		t, ok := texts[r.ID]
		for _, name := range correlated[r.ID] {
			if part, ok := texts[name]; ok {
				t.Parts = append(t.Parts, part)
			}
		}
		return t, ok
	}, nil
}

// signer reads the key that signs, or makes one.
func (p packing) signer() (ed25519.PrivateKey, error) {
	path := *p.key
	if path == "" {
		if !p.where.embedded() {
			return nil, usagef("--format package: give the key that signs it with --sign-key")
		}
		path = filepath.Join(*p.where.data, "package-key.pem")
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return p.newKey(path)
	}
	if err != nil {
		return nil, fmt.Errorf("--sign-key: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("--sign-key: %s: want a private key in PEM; openssl genpkey -algorithm ed25519 makes one", path)
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("--sign-key: %s: %w", path, err)
	}
	key, ok := k.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("--sign-key: %s: want an Ed25519 key; openssl genpkey -algorithm ed25519 makes one", path)
	}
	return key, nil
}

func (p packing) newKey(path string) (ed25519.PrivateKey, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	if err := pem.Encode(&text, &pem.Block{Type: "PRIVATE KEY", Bytes: der}); err != nil {
		return nil, err
	}
	if err := os.WriteFile(path, text.Bytes(), 0o600); err != nil {
		return nil, fmt.Errorf("--sign-key: %w", err)
	}
	fmt.Fprintf(p.cmd.ErrOrStderr(), "tocsin: made %s, which signs packages from now on; recipients may trust its fingerprint: %s\n", path, pack.Fingerprint(key.Public().(ed25519.PublicKey)))
	return key, nil
}
