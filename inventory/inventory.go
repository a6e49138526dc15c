// Package inventory lists the hosts of a network as its traffic shows them: who
// they are, what they offer and use, since when, and what the operator's asset
// file says of them, which enrichment has put into the events.
package inventory

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tocsin/tocsin/event"
)

// Host is one address, or those of one asset together.
type Host struct {
	Name                     string // of the asset file; empty: it is not in there
	Addresses                []netip.Addr
	MACs                     []string // hexadecimal with dashes; none if others share it, as behind a router
	Makers                   []string // of the network interfaces, where the registry of prefixes is known
	Zone, Trust, Role        string   // of the asset file
	Sector                   string
	Level                    int64 // of protection, 1 to 5; 0: not said
	Owner                    string
	Vendor, Model, Firmware  string // as the device says itself
	Software                 []string
	Services                 []Service // that others used
	Uses                     []string  // protocols that it spoke as a client
	Sensors                  []string
	First, Last              time.Time
	Clients, Servers, Events int // different hosts that called it, and that it called
}

// Service is what a host offers.
type Service struct {
	Transport string // tcp, udp, …
	Port      uint16
	Protocol  string // as recognised; empty: not
	Flows     int
}

// String is "modbus (tcp/502)".
func (s Service) String() string {
	at := s.Transport + "/" + strconv.Itoa(int(s.Port))
	if s.Protocol == "" {
		return at
	}
	return s.Protocol + " (" + at + ")"
}

// Bounds: of hosts, and of what is remembered of each. More is left out and
// counted in Inventory.Left.
const (
	maxHosts    = 200_000
	maxServices = 256
	maxPeers    = 1024
	maxTexts    = 32
	// maxShared is how many addresses a MAC may have to be those of one host.
	maxShared = 4
)

// Inventory gathers hosts from events. The order of events does not matter but
// where devices contradict themselves: the latest is believed.
type Inventory struct {
	// Maker names the maker of a network interface by its MAC; nil: not known.
	Maker func(mac string) string
	// Owner names who owns an address, by the asset file; nil: not known.
	Owner func(netip.Addr) string

	hosts map[netip.Addr]*host
	macs  map[string]map[netip.Addr]bool
	Left  int // events of hosts that were too many
}

type host struct {
	name, zone, trust, role, sector string
	level                           int64
	first, last                     time.Time
	identified                      time.Time
	vendor, model, firmware         string
	software, uses, sensors, macs   map[string]bool
	services                        map[Service]int
	clients, servers                map[netip.Addr]bool
	events                          int
}

// sides are the fields of the two sides of an event.
type side struct {
	name, zone, trust, role, sector, level event.Ref
}

var sides = [2]side{sideOf("source"), sideOf("destination")}

func sideOf(name string) side {
	of := func(field string) event.Ref { return event.Resolve("tocsin." + name + "." + field) }
	return side{of("name"), of("zone"), of("trust"), of("role"), of("sector"), of("level")}
}

// Add learns from an event. Addresses outside the operator's network are not
// listed: those in no zone, and if there are no zones those that are not private.
func (v *Inventory) Add(e *event.Event) {
	f := &e.Flow
	if e.Kind == event.KindLedger || e.Kind == event.KindAlert || !f.Src.IP.IsValid() {
		return
	}
	src, dst := v.host(e, f.Src, &sides[0]), v.host(e, f.Dst, &sides[1])
	if e.Kind == event.KindFlow {
		if src != nil && f.Src.Packets > 0 {
			note(src.uses, f.Service)
			peer(src.servers, f.Dst.IP)
		}
		// Who never answered offers nothing.
		if dst != nil && f.Dst.Packets > 0 && offered(f.State) {
			s := Service{Transport: text(e, transportRef), Port: f.Dst.Port, Protocol: f.Service}
			if _, known := dst.services[s]; known || len(dst.services) < maxServices {
				dst.services[s]++
			}
			peer(dst.clients, f.Src.IP)
		}
		return
	}
	// Who answers a question to all does so in a flow of its own.
	if own, _ := e.Lookup(ownAddress); src != nil && own.Equal(event.IP(f.Src.IP)) {
		src.identify(e)
	} else if dst != nil {
		dst.identify(e)
	}
	if dst != nil {
		note(dst.software, text(e, serverSoftware))
	}
	if src != nil {
		note(src.software, text(e, clientSoftware))
	}
}

var (
	transportRef   = event.Resolve("network.transport")
	serverSoftware = event.Resolve("tocsin.ssh.server.software")
	clientSoftware = event.Resolve("tocsin.ssh.client.software")
	deviceID       = event.Resolve("modbus.device_id")
	ownAddress     = event.Resolve("enip.identity.address")
	objectsRef     = event.Resolve("ics.objects")
)

func text(e *event.Event, ref event.Ref) string {
	v, _ := e.Lookup(ref)
	return v.Str()
}

// offered reports whether a flow's state says that the responder took it.
func offered(state string) bool {
	switch state {
	case "S0", "REJ", "RSTOS0", "SH", "RSTRH", "SHR":
		return false
	}
	return true
}

func note(set map[string]bool, s string) {
	if s != "" && (set[s] || len(set) < maxTexts) {
		set[strings.Clone(s)] = true
	}
}

func peer(set map[netip.Addr]bool, a netip.Addr) {
	if set[a] || len(set) < maxPeers {
		set[a] = true
	}
}

func (v *Inventory) host(e *event.Event, at event.Endpoint, s *side) *host {
	a := at.IP
	zone := text(e, s.zone)
	if !a.IsValid() || a.IsMulticast() || a.IsUnspecified() || zone == "" && !a.IsPrivate() && !a.IsLinkLocalUnicast() {
		return nil
	}
	h := v.hosts[a]
	if h == nil {
		if at.Packets == 0 && e.Kind == event.KindFlow {
			return nil // asked for, and never heard of
		}
		if len(v.hosts) >= maxHosts {
			v.Left++
			return nil
		}
		if v.hosts == nil {
			v.hosts, v.macs = map[netip.Addr]*host{}, map[string]map[netip.Addr]bool{}
		}
		h = &host{
			first: e.Time, last: e.Time, software: map[string]bool{}, uses: map[string]bool{}, sensors: map[string]bool{}, macs: map[string]bool{},
			services: map[Service]int{}, clients: map[netip.Addr]bool{}, servers: map[netip.Addr]bool{},
		}
		v.hosts[a] = h
	}
	h.events++
	if e.Time.Before(h.first) {
		h.first = e.Time
	}
	if !e.Time.Before(h.last) {
		h.last = e.Time
		h.zone = strings.Clone(zone)
		for _, x := range []struct {
			to  *string
			ref event.Ref
		}{{&h.name, s.name}, {&h.trust, s.trust}, {&h.role, s.role}, {&h.sector, s.sector}} {
			*x.to = strings.Clone(text(e, x.ref))
		}
		level, _ := e.Lookup(s.level)
		h.level, _ = level.Int()
	}
	note(h.sensors, e.Sensor)
	if mac := at.MAC.String(); at.Packets > 0 && mac != "" {
		note(h.macs, mac)
		if v.macs[mac] == nil {
			v.macs[mac] = map[netip.Addr]bool{}
		}
		if len(v.macs[mac]) <= maxShared {
			v.macs[mac][a] = true
		}
	}
	return h
}

// said are the fields in which devices say who they are: vendor, model and
// firmware.
var said = [][3]event.Ref{
	{event.Resolve("s7comm.device.vendor"), event.Resolve("s7comm.device.model"), event.Resolve("s7comm.device.version")},
	{event.Resolve("enip.identity.vendor"), event.Resolve("enip.identity.product"), event.Resolve("enip.identity.revision")},
}

// identify believes what a device says of itself. What it says in several
// answers is put together.
func (h *host) identify(e *event.Event) {
	if e.Time.Before(h.identified) {
		return
	}
	learn := func(to *string, value string) {
		if value != "" {
			*to, h.identified = strings.Clone(value), e.Time
		}
	}
	for _, refs := range said {
		for i, to := range []*string{&h.vendor, &h.model, &h.firmware} {
			learn(to, text(e, refs[i]))
		}
	}
	// Modbus Application Protocol 1.1b3, section 6.21, objects 0 to 2, 4 and 5.
	product := ""
	if v, ok := e.Lookup(deviceID); ok {
		for _, o := range v.List() {
			x := event.Event{Fields: o.Object()}
			value := x.Get("value").Str()
			switch x.Get("name").Str() {
			case "vendor":
				learn(&h.vendor, value)
			case "product_code":
				learn(&product, value)
			case "product_name", "model_name":
				learn(&h.model, value)
			case "revision":
				learn(&h.firmware, value)
			}
		}
		h.model = cmp.Or(h.model, product)
	}
	// ANSI/ASHRAE 135, section 12.11.
	if e.Kind == "bacnet" {
		v, _ := e.Lookup(objectsRef)
		for _, o := range v.List() {
			x := event.Event{Fields: o.Object()}
			if x.Get("type").Str() != "device" {
				continue
			}
			switch value := x.Get("text").Str(); x.Get("property").Str() {
			case "vendor_name":
				learn(&h.vendor, value)
			case "model_name":
				learn(&h.model, value)
			case "firmware_revision":
				learn(&h.firmware, value)
			}
		}
	}
}

// Hosts returns the hosts, addresses of one asset together, those of the asset
// file first by name, then the others by address.
func (v *Inventory) Hosts() []Host {
	var hosts []Host
	at := map[string]int{}
	for _, a := range slices.SortedFunc(maps.Keys(v.hosts), netip.Addr.Compare) {
		h := v.hosts[a]
		i, ok := at[h.name]
		if !ok || h.name == "" {
			i = len(hosts)
			at[h.name] = i
			hosts = append(hosts, Host{Name: h.name, First: h.first, Last: h.last})
		}
		v.join(&hosts[i], a, h)
	}
	slices.SortStableFunc(hosts, func(x, y Host) int {
		if (x.Name == "") != (y.Name == "") {
			return cmp.Compare(y.Name, x.Name)
		}
		return cmp.Compare(x.Name, y.Name)
	})
	return hosts
}

func (v *Inventory) join(x *Host, a netip.Addr, h *host) {
	x.Addresses = append(x.Addresses, a)
	x.Zone, x.Trust, x.Role, x.Sector, x.Level = cmp.Or(x.Zone, h.zone), cmp.Or(x.Trust, h.trust), cmp.Or(x.Role, h.role), cmp.Or(x.Sector, h.sector), cmp.Or(x.Level, h.level)
	x.Vendor, x.Model, x.Firmware = cmp.Or(x.Vendor, h.vendor), cmp.Or(x.Model, h.model), cmp.Or(x.Firmware, h.firmware)
	if v.Owner != nil {
		x.Owner = cmp.Or(x.Owner, v.Owner(a))
	}
	add := func(to *[]string, s string) {
		if i, ok := slices.BinarySearch(*to, s); !ok && s != "" {
			*to = slices.Insert(*to, i, s)
		}
	}
	for mac := range h.macs {
		if len(v.macs[mac]) <= maxShared {
			add(&x.MACs, mac)
			if v.Maker != nil {
				add(&x.Makers, v.Maker(mac))
			}
		}
	}
	for s := range h.software {
		add(&x.Software, s)
	}
	for s := range h.uses {
		add(&x.Uses, s)
	}
	for s := range h.sensors {
		add(&x.Sensors, s)
	}
	for s, n := range h.services {
		s.Flows = n
		same := func(o Service) bool {
			return o.Transport == s.Transport && o.Port == s.Port && o.Protocol == s.Protocol
		}
		if i := slices.IndexFunc(x.Services, same); i >= 0 {
			x.Services[i].Flows += n
		} else {
			x.Services = append(x.Services, s)
		}
	}
	slices.SortFunc(x.Services, func(a, b Service) int {
		return cmp.Or(cmp.Compare(b.Flows, a.Flows), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Transport, b.Transport), cmp.Compare(a.Protocol, b.Protocol))
	})
	x.Clients, x.Servers, x.Events = x.Clients+len(h.clients), x.Servers+len(h.servers), x.Events+h.events
	if h.first.Before(x.First) {
		x.First = h.first
	}
	if h.last.After(x.Last) {
		x.Last = h.last
	}
}
