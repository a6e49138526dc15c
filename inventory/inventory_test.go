package inventory

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tocsin/tocsin/event"
)

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

func end(ip string, port uint16, packets uint64, mac byte) event.Endpoint {
	return event.Endpoint{IP: netip.MustParseAddr(ip), Port: port, Packets: packets, MAC: event.MAC{2, 0, 0, 0, 0, mac}}
}

func flow(minute int, src, dst event.Endpoint, service, state string, fields ...event.Field) event.Event {
	return event.Event{
		Kind: event.KindFlow, Sensor: "tap", Time: noon.Add(time.Duration(minute) * time.Minute), Fields: fields,
		Flow: event.Flow{Src: src, Dst: dst, Transport: event.ProtoTCP, Service: service, State: state},
	}
}

func named(side, name string) event.Field {
	return event.Field{Name: "tocsin." + side + ".name", Value: event.Str(name)}
}

// day is what two PLCs, a scanner and a stranger do.
func day() []event.Event {
	pair := func(name, value string) event.Value {
		return event.Object(event.Field{Name: "name", Value: event.Str(name)}, event.Field{Name: "value", Value: event.Str(value)})
	}
	hmi, plc := end("10.40.0.20", 50000, 5, 1), end("10.50.0.11", 502, 5, 2)
	return []event.Event{
		flow(1, hmi, plc, "modbus", "SF", named("destination", "plc1")),
		flow(2, hmi, end("fd20::11", 502, 5, 2), "modbus", "SF", named("destination", "plc1")),
		flow(3, hmi, end("10.50.0.12", 502, 1, 3), "", "REJ"),
		flow(4, hmi, end("10.50.0.99", 502, 0, 9), "", "S0"),
		flow(5, end("198.51.100.7", 40000, 3, 8), end("10.40.0.20", 443, 3, 1), "tls", "SF"),
		{Kind: "modbus", Sensor: "tap", Time: noon.Add(6 * time.Minute), Flow: event.Flow{Src: end("10.40.0.20", 50000, 0, 1), Dst: end("10.50.0.11", 502, 0, 2)}, Fields: []event.Field{
			named("destination", "plc1"),
			{Name: "modbus.device_id", Value: event.List(pair("vendor", "Example"), pair("product_code", "EGC-4"), pair("revision", "2.7"))},
		}},
	}
}

func TestHosts(t *testing.T) {
	inv := Inventory{Maker: Makers{"02-00-00": "Maker"}.Of, Owner: func(a netip.Addr) string { return map[string]string{"10.50.0.11": "OT"}[a.String()] }}
	for _, e := range day() {
		inv.Add(&e)
	}
	hosts := inv.Hosts()
	var names []string
	for _, h := range hosts {
		names = append(names, fmt.Sprint(h.Name, h.Addresses))
	}
	// Nobody ever heard of .99, and the stranger is not ours.
	want := []string{"plc1[10.50.0.11 fd20::11]", "[10.40.0.20]", "[10.50.0.12]"}
	if !slices.Equal(names, want) {
		t.Fatalf("%q, want %q", names, want)
	}
	p := hosts[0]
	if p.Vendor != "Example" || p.Model != "EGC-4" || p.Firmware != "2.7" || p.Owner != "OT" || p.Clients != 2 || !slices.Equal(p.MACs, []string{"02-00-00-00-00-02"}) || !slices.Equal(p.Makers, []string{"Maker"}) {
		t.Errorf("%+v", p)
	}
	if len(p.Services) != 1 || p.Services[0] != (Service{"tcp", 502, "modbus", 2}) || !p.First.Equal(noon.Add(time.Minute)) || !p.Last.Equal(noon.Add(6*time.Minute)) {
		t.Errorf("%+v", p)
	}
	if h := hosts[1]; len(h.Services) != 1 || h.Services[0].String() != "tls (tcp/443)" || !slices.Equal(h.Uses, []string{"modbus"}) || h.Servers != 4 {
		t.Errorf("%+v", h)
	}
	if h := hosts[2]; len(h.Services) != 0 {
		t.Errorf("a host that refused offers %v", h.Services)
	}
}

// TestOrderDoesNotMatter adds the same events in any order.
func TestOrderDoesNotMatter(t *testing.T) {
	var want Inventory
	for _, e := range day() {
		want.Add(&e)
	}
	rapid.Check(t, func(t *rapid.T) {
		var inv Inventory
		for _, i := range rapid.Permutation([]int{0, 1, 2, 3, 4, 5}).Draw(t, "order") {
			e := day()[i]
			inv.Add(&e)
		}
		if got := inv.Hosts(); !reflect.DeepEqual(got, want.Hosts()) {
			t.Fatalf("%+v\nwant %+v", got, want.Hosts())
		}
	})
}

// TestGateway: the address of an interface that many hosts come through says
// nothing about them.
func TestGateway(t *testing.T) {
	var inv Inventory
	for i := range 6 {
		e := flow(i, end(fmt.Sprintf("10.1.0.%d", i+1), 1000, 1, 7), end("10.2.0.1", 80, 1, 8), "http", "SF")
		inv.Add(&e)
	}
	for _, h := range inv.Hosts() {
		if alone := h.Addresses[0].String() == "10.2.0.1"; alone != (len(h.MACs) == 1) {
			t.Errorf("%v has %q", h.Addresses, h.MACs)
		}
	}
}

func TestMakers(t *testing.T) {
	m, err := readMakers(strings.NewReader("OUI/MA-L   Organization\n\n00-00-0C   (hex)\t\tCisco Systems, Inc\n00000C     (base 16)\t\tCisco Systems, Inc\n"))
	if err != nil || len(m) != 1 || m.Of("00-00-0C-01-02-03") != "Cisco Systems, Inc" || m.Of("02-00-00-01-02-03") != "" || m.Of("") != "" {
		t.Errorf("%v %v", m, err)
	}
}

// Devices say who they are in each protocol's own words, and some in a flow of
// their own.
func TestIdentities(t *testing.T) {
	noon := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	at := func(a string) event.Endpoint { return event.Endpoint{IP: netip.MustParseAddr(a), Port: 44818} }
	str := func(name, value string) event.Field { return event.Field{Name: name, Value: event.Str(value)} }
	property := func(name, value string) event.Value {
		return event.Object(str("type", "device"), str("property", name), str("text", value))
	}
	var v Inventory
	for _, e := range []event.Event{
		{Kind: "s7comm", Flow: event.Flow{Src: at("10.0.0.1"), Dst: at("10.0.0.2")}, Fields: []event.Field{str("s7comm.device.model", "6ES7 315"), str("s7comm.device.version", "V3.2.7")}},
		{Kind: "s7comm", Flow: event.Flow{Src: at("10.0.0.1"), Dst: at("10.0.0.2")}, Fields: []event.Field{str("s7comm.device.vendor", "Siemens")}},
		{Kind: "enip", Flow: event.Flow{Src: at("10.0.0.3"), Dst: at("10.0.0.1")}, Fields: []event.Field{
			{Name: "enip.identity.address", Value: event.IP(netip.MustParseAddr("10.0.0.3"))}, str("enip.identity.vendor", "Rockwell Automation"),
			str("enip.identity.product", "1756-L61"), str("enip.identity.revision", "20.11")}},
		{Kind: "bacnet", Flow: event.Flow{Src: at("10.0.0.1"), Dst: at("10.0.0.4")}, Fields: []event.Field{
			{Name: "ics.objects", Value: event.List(property("vendor_name", "Example"), property("model_name", "AHU"), property("firmware_revision", "7"))}}},
	} {
		e.Time = noon
		v.Add(&e)
	}
	got := map[string][3]string{}
	for _, h := range v.Hosts() {
		got[h.Addresses[0].String()] = [3]string{h.Vendor, h.Model, h.Firmware}
	}
	for a, want := range map[string][3]string{
		"10.0.0.1": {}, "10.0.0.2": {"Siemens", "6ES7 315", "V3.2.7"}, "10.0.0.3": {"Rockwell Automation", "1756-L61", "20.11"}, "10.0.0.4": {"Example", "AHU", "7"},
	} {
		if got[a] != want {
			t.Errorf("%s is %q, want %q", a, got[a], want)
		}
	}
}
