package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tocsin/tocsin/bus/spool"
	"github.com/tocsin/tocsin/correlator"
	behaviours "github.com/tocsin/tocsin/correlator/behaviour/all"
	"github.com/tocsin/tocsin/correlator/enrich"
	"github.com/tocsin/tocsin/correlator/intel/feed"
	"github.com/tocsin/tocsin/correlator/policy"
	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor"
	"github.com/tocsin/tocsin/sensor/acceptance"
	"github.com/tocsin/tocsin/sensor/capture"
	"github.com/tocsin/tocsin/sensor/capture/file"
	"github.com/tocsin/tocsin/sensor/capture/merge"
	"github.com/tocsin/tocsin/sensor/capture/pcap"
	"github.com/tocsin/tocsin/sensor/flow"
	logs "github.com/tocsin/tocsin/sensor/log/all"
	"github.com/tocsin/tocsin/sensor/netflow"
	"github.com/tocsin/tocsin/sensor/proto"
	protocols "github.com/tocsin/tocsin/sensor/proto/all"
)

// schema documents every field that any event may carry.
func schema() (*event.Schema, error) {
	var none enrich.Assets
	lists := [][]event.FieldDoc{sensor.Fields(), acceptance.Fields(), netflow.Fields(), spool.Fields(), protocols.Fields(), feed.Fields, none.Enricher().Fields}
	return event.NewSchema(append(lists, logs.Fields(lists...))...)
}

// houseKinds are the kinds of events that no parser makes.
var houseKinds = []event.Kind{event.KindFlow, event.KindARP, event.KindFlood, event.KindLedger, feed.Kind}

// kinds are the kinds of events that sensors make, ours and others. A protocol
// may have several parsers, one for each transport.
func kinds() []event.Kind {
	ks := slices.Clone(houseKinds)
	for _, p := range protocols.Protocols() {
		if !slices.Contains(ks, p.Name) {
			ks = append(ks, p.Name)
		}
	}
	for _, k := range logs.Kinds() {
		if !slices.Contains(ks, k) {
			ks = append(ks, k)
		}
	}
	return ks
}

// sensing are the flags of commands that read packets.
type sensing struct {
	filter     *string
	flowMemory *int // MB
	protocols  *[]string
	workers    *int
	view       *bool // nil where the command has no such flag
}

func sensingFlags(cmd *cobra.Command) sensing {
	return sensing{
		filter:     cmd.Flags().StringP("filter", "f", "", "look only at packets that match this pcap-filter(7) `EXPRESSION`"),
		flowMemory: cmd.Flags().Int("flow-memory", flow.DefaultConfig().MaxFlows*flow.Bytes/1_000_000, "`MB` of memory for the flow table; when it is full, connections that were asked for and nothing more make room first"),
		protocols:  cmd.Flags().StringSlice("protocols", []string{"all"}, "parse only these `PROTOCOLS`, such as dns,tls; none for flows alone"),
		workers:    cmd.Flags().Int("workers", min(runtime.NumCPU(), 4), "`N` workers; what is found in captures does not depend on it"),
	}
}

// config is a sensor's configuration as the flags have it.
func (s sensing) config() (sensor.Config, error) {
	cfg := sensor.DefaultConfig()
	const most = 100_000 // MB: of so many flows, the numbers have room
	if *s.flowMemory < 1 || *s.flowMemory > most {
		return cfg, usagef("--flow-memory %d: want 1 to %d MB", *s.flowMemory, most)
	}
	cfg.Flow.MaxFlows = *s.flowMemory * 1_000_000 / flow.Bytes
	if s.view != nil && *s.view {
		cfg.Top = topFlows
	}
	if slices.Equal(*s.protocols, []string{"none"}) {
		return cfg, nil
	}
	known := protocols.Protocols()
	if slices.Equal(*s.protocols, []string{"all"}) {
		cfg.Protocols = known
		return cfg, nil
	}
	for _, p := range known {
		if slices.Contains(*s.protocols, string(p.Name)) {
			cfg.Protocols = append(cfg.Protocols, p)
		}
	}
	for _, name := range *s.protocols {
		if !slices.ContainsFunc(known, func(p proto.Protocol) bool { return string(p.Name) == name }) {
			var names []string
			for _, k := range kinds()[len(houseKinds):] {
				names = append(names, string(k))
			}
			return cfg, usageError{fmt.Errorf("--protocols: %q is not known; there are %s, or all, or none", name, strings.Join(names, ", "))}
		}
	}
	return cfg, nil
}

func (s sensing) workerCount() (int, error) {
	if n := *s.workers; n < 1 || n > sensor.Shards {
		return 0, usagef("--workers %d: want 1 to %d", n, sensor.Shards)
	}
	return *s.workers, nil
}

// files makes a sensor of captures, which are read as one in the order of time.
func (s sensing) files(inputs []input, sink sensor.Sink, change ...func(*sensor.Config)) (*sensor.Sensor, error) {
	cfg, err := s.config()
	if err != nil {
		return nil, err
	}
	for _, c := range change {
		c(&cfg)
	}
	if cfg.Workers, err = s.workerCount(); err != nil {
		return nil, err
	}
	if slices.ContainsFunc(inputs, func(in input) bool { return in.once != nil }) {
		cfg.Workers = 1 // what can be read only once has one reader
	}
	return sensor.New(cfg, func(int) (capture.Source, error) {
		src, err := openCaptures(inputs)
		if err != nil || *s.filter == "" {
			return src, err
		}
		filtered, err := pcap.Filter(src, *s.filter)
		if err != nil {
			return nil, errors.Join(usageError{err}, src.Close())
		}
		return filtered, nil
	}, sink)
}

func openCaptures(inputs []input) (capture.Source, error) {
	return merge.Open(len(inputs), func(i int) (capture.Source, error) {
		if in := inputs[i]; in.once != nil {
			return file.New(in.once, in.name)
		}
		return file.Open(inputs[i].name)
	})
}

// replay runs a sensor of captures to their end. To be interrupted before that
// is an error.
func replay(ctx context.Context, s *sensor.Sensor) error {
	if err := s.Run(ctx); err != nil {
		return err
	}
	return ctx.Err()
}

// detecting are the flags of commands that make alerts.
type detecting struct {
	rules                 ruleset
	intel                 *[]string
	feeds, assets, policy *string
	geo                   *atlas
	known                 *enrich.Assets // of the file; filled in by config
}

func detectingFlags(cmd *cobra.Command) *detecting {
	return &detecting{
		rules:  rulesetFlags(cmd),
		intel:  cmd.Flags().StringArray("intel", nil, "reputation list `[NAME=]FILE`; may be repeated"),
		feeds:  feedsFlag(cmd),
		assets: assetsFlag(cmd),
		geo:    atlasFlag(cmd),
		policy: cmd.Flags().String("policy", "", "policy `FILE`: who may do what to which industrial device, YAML; see tocsin policy learn"),
	}
}

func assetsFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("assets", "", "asset `FILE`: zones and assets of the network, YAML")
}

// loadAssets reads the file of assets, if one is given.
func loadAssets(path string) (*enrich.Assets, error) {
	if path == "" {
		return &enrich.Assets{}, nil
	}
	return enrich.Load(path)
}

// correlator makes a correlator of what config puts together.
func (d *detecting) correlator(errs io.Writer) (*correlator.Correlator, *reputation, error) {
	cfg, lists, err := d.config(errs)
	if err != nil {
		return nil, nil, err
	}
	c, err := correlator.New(cfg)
	return c, lists, err
}

// config puts together what looks for attacks. What is wrong with single
// lines of lists is told on errs and does not stop it; a rule that is wrong
// does, for nobody would notice that it is missing.
func (d *detecting) config(errs io.Writer) (correlator.Config, *reputation, error) {
	var cfg correlator.Config
	fields, err := schema()
	if err != nil {
		return cfg, nil, err
	}
	set, err := d.rules.load(fields)
	if err != nil {
		return cfg, nil, err
	}
	assets, err := loadAssets(*d.assets)
	if err != nil {
		return cfg, nil, err
	}
	d.known = assets
	lists, err := loadReputation(*d.intel, *d.feeds, errs)
	if err != nil {
		return cfg, nil, err
	}
	places, err := d.geo.enrichers()
	if err != nil {
		return cfg, nil, err
	}
	cfg.Enrichers = append(places, assets.Enricher())
	cfg.Detectors = slices.Concat(behaviours.Detectors(), []correlator.Detector{set.Detector()}, lists.detectors())
	if *d.policy != "" {
		p, err := policy.Load(*d.policy)
		if err != nil {
			return cfg, nil, err
		}
		cfg.Detectors = append(cfg.Detectors, p.Detectors()...)
	}
	d.rules.now.detectors = cfg.Detectors
	d.rules.now.set.Store(set)
	return cfg, lists, nil
}

// findings gathers the reports of alerts until the last.
type findings map[event.ID]*event.Alert

func (f findings) add(alerts []event.Alert) {
	for i := range alerts {
		if known := f[alerts[i].ID]; known != nil {
			known.Merge(&alerts[i])
		} else {
			f[alerts[i].ID] = &alerts[i]
		}
	}
}

// sorted returns the alerts by time.
func (f findings) sorted() []*event.Alert {
	list := make([]*event.Alert, 0, len(f))
	for _, a := range f {
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b *event.Alert) int { return cmp.Or(a.First.Compare(b.First), a.ID.Compare(b.ID)) })
	return list
}

// collectAt sets the garbage collector's percentage, unless GOGC does, until the
// function that it returns is called.
func collectAt(percent int) (restore func()) {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	before := debug.SetGCPercent(percent)
	return func() { debug.SetGCPercent(before) }
}
