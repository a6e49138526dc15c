package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/inventory"
)

// registry is where Debian's package ieee-data has the makers of interfaces.
const registry = "/usr/share/ieee-data/oui.txt"

func newAssets() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "assets [QUERY]",
		Short: "List the hosts that were seen, with what they offer and say of themselves",
		Long: `List the hosts of the network as the stored events show them, together with what
the asset file said when the events came: addresses, interfaces, services,
identification, first and last seen. Nothing is sent to anybody.`,
		Example: `  tocsin assets
  tocsin assets 'ics.protocol: modbus' --json
  tocsin assets --unknown --last 24h`,
		Args: cobra.MaximumNArgs(1),
	}
	stored, assets := pastFlags(cmd), assetsFlag(cmd)
	oui := cmd.Flags().String("oui", registry, "`FILE` of the IEEE that names the makers of network interfaces")
	unknown := cmd.Flags().Bool("unknown", false, "only hosts that the asset file does not name")
	asJSON := cmd.Flags().Bool("json", false, "print JSON lines")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var inv inventory.Inventory
		switch makers, err := inventory.LoadMakers(*oui); {
		case err == nil:
			inv.Maker = makers.Of
		case !errors.Is(err, fs.ErrNotExist) || cmd.Flags().Changed("oui"):
			return err
		}
		known, err := loadAssets(*assets)
		if err != nil {
			return err
		}
		inv.Owner = known.Owner
		query := ""
		if len(args) == 1 {
			query = args[0]
		}
		if err := stored.each(cmd.Context(), query, func(e *event.Event) error { inv.Add(e); return nil }); err != nil {
			return err
		}
		var hosts []inventory.Host
		for _, h := range inv.Hosts() {
			if !*unknown || h.Name == "" {
				hosts = append(hosts, h)
			}
		}
		if len(hosts) == 0 {
			return errNothing
		}
		if inv.Left > 0 {
			complain(cmd.ErrOrStderr(), fmt.Errorf("%d events of hosts beyond the bound are left out", inv.Left))
		}
		if *asJSON {
			enc := json.NewEncoder(cmd.OutOrStdout())
			for i := range hosts {
				if err := enc.Encode(hostJSON(&hosts[i])); err != nil {
					return err
				}
			}
			return nil
		}
		w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "NAME\tADDRESSES\tZONE\tROLE\tLEVEL\tOFFERS\tDEVICE\tINTERFACE\tFIRST\tLAST")
		for i := range hosts {
			h := &hosts[i]
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", dash(h.Name), some(texts(h.Addresses)), dash(h.Zone), dash(h.Role), dash(level(h.Level)),
				some(texts(h.Services)), dash(strings.TrimSpace(strings.Join([]string{h.Vendor, h.Model, h.Firmware}, " "))), some(append(h.MACs, h.Makers...)),
				h.First.UTC().Format(time.DateTime), h.Last.UTC().Format(time.DateTime))
		}
		return w.Flush()
	}
	return cmd
}

func hostJSON(h *inventory.Host) map[string]any {
	m := map[string]any{
		"addresses": texts(h.Addresses), "first": h.First.UTC(), "last": h.Last.UTC(), "events": h.Events,
		"clients": h.Clients, "servers": h.Servers, "sensors": h.Sensors,
	}
	for name, s := range map[string]string{
		"name": h.Name, "zone": h.Zone, "trust": h.Trust, "role": h.Role, "sector": h.Sector, "owner": h.Owner, "vendor": h.Vendor, "model": h.Model, "firmware": h.Firmware,
	} {
		if s != "" {
			m[name] = s
		}
	}
	if h.Level > 0 {
		m["level"] = h.Level
	}
	for name, list := range map[string][]string{"macs": h.MACs, "makers": h.Makers, "software": h.Software, "uses": h.Uses} {
		if len(list) > 0 {
			m[name] = list
		}
	}
	var services []map[string]any
	for _, s := range h.Services {
		x := map[string]any{"transport": s.Transport, "port": s.Port, "flows": s.Flows}
		if s.Protocol != "" {
			x["protocol"] = s.Protocol
		}
		services = append(services, x)
	}
	if services != nil {
		m["services"] = services
	}
	return m
}

func level(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// shown is how many of a list a table has room for.
const shown = 3

func some(ss []string) string {
	if more := len(ss) - shown; more > 0 {
		return fmt.Sprintf("%s +%d", strings.Join(ss[:shown], ", "), more)
	}
	return dash(strings.Join(ss, ", "))
}

func texts[T interface {
	netip.Addr | inventory.Service
	String() string
}](items []T) []string {
	ss := make([]string, len(items))
	for i, x := range items {
		ss[i] = x.String()
	}
	return ss
}
