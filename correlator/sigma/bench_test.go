package sigma

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/event"
)

// traffic is a mix of events as sensors make them, none of which a usual rule
// matches.
func traffic() (es []event.Event) {
	for i := range 200 {
		src, dst := fmt.Sprintf("10.0.%d.%d", i%7, 1+i%200), fmt.Sprintf("192.0.2.%d", 1+i%250)
		switch i % 4 {
		case 0:
			e := at(i, event.KindFlow, src, dst)
			e.Flow.State, e.Flow.History, e.Flow.Service = "SF", "ShADadFf", "http"
			e.Flow.Dst.Port = 80
			es = append(es, e)
		case 1:
			es = append(es, at(i, "dns", src, dst,
				str("dns.question.name", fmt.Sprintf("host%d.branch.company.example", i)), str("dns.question.type", "A"), str("dns.response_code", "NOERROR"),
				event.Field{Name: "dns.answers", Value: event.List(event.Object(str("name", "x"), str("type", "A"), str("data", "192.0.2.8")))}))
		case 2:
			es = append(es, at(i, "http", src, dst,
				str("http.request.method", "GET"), str("url.original", fmt.Sprintf("/shop/articles/%d/view?ref=mail&session=%d", i, i*7919)),
				str("url.path", fmt.Sprintf("/shop/articles/%d/view", i)), str("url.domain", "www.company.example"),
				str("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
				num("http.response.status_code", 204), str("http.response.mime_type", "text/html"), str("http.version", "1.1")))
		case 3:
			es = append(es, at(i, "modbus", src, dst, str("ics.protocol", "modbus"), str("ics.operation", "read"), num("ics.function.code", 3), num("ics.unit", 1),
				event.Field{Name: "ics.objects", Value: event.List(event.Object(str("address", "40001"), num("value", i)))}))
		}
	}
	return es
}

// synthetic makes rules like those that people write for such traffic.
func synthetic(n int) (texts []string) {
	for i := range n {
		var log, det string
		switch i % 8 {
		case 0:
			log, det = "dns", fmt.Sprintf("s: {dns.question.name|endswith: ['.evil%d.test', '.bad%d.test']}\n  condition: s", i, i)
		case 1:
			log, det = "http", fmt.Sprintf("s: {url.original|contains|all: ['/exploit%d', 'cmd='], http.request.method: POST}\n  condition: s", i)
		case 2:
			log, det = "http", fmt.Sprintf("s: {user_agent.original|startswith: 'Tool-%d/'}\n  f: {url.domain|endswith: .company.example}\n  condition: s and not f", i)
		case 3:
			log, det = "flow", fmt.Sprintf("s: {destination.port: %d, source.ip|cidr: 198.51.100.0/24}\n  condition: s", 2000+i)
		case 4:
			log, det = "modbus", fmt.Sprintf("s: {ics.operation: write, ics.objects.address: '%d'}\n  condition: s", 50000+i)
		case 5:
			log, det = "flow", fmt.Sprintf("s: {destination.ip|cidr: 203.%d.%d.0/24}\n  condition: s", i/256%256, i%256)
		case 6:
			log, det = "flow", fmt.Sprintf("s: {source.bytes|gt: %d, destination.ip|cidr: '2001:db8:%x::/48'}\n  condition: s", 1_000_000+i, i)
		case 7:
			log, det = "http", fmt.Sprintf("s: {http.response.status_code|gte: %d}\n  f: {url.domain: own%d.example}\n  condition: s and not f", 600+i, i)
		}
		texts = append(texts, fmt.Sprintf("title: r%d\nid: r%d\nlogsource: {product: tocsin, service: %s}\ndetection:\n  %s\n", i, i, log, det))
	}
	return texts
}

func TestMatchDoesNotAllocate(t *testing.T) {
	set := mustCompile(t, synthetic(500)...)
	es := traffic()
	hits := 0
	emit := func(correlator.Signal) { hits++ }
	n := testing.AllocsPerRun(20, func() {
		for i := range es {
			set.Match(&es[i], emit)
		}
	})
	if n != 0 || hits != 0 {
		t.Errorf("%v allocations, %d hits in %d events", n, hits, len(es))
	}
}

func benchmark(b *testing.B, set *Set) {
	es := traffic()
	hits := 0
	emit := func(correlator.Signal) { hits++ }
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		set.Match(&es[i%len(es)], emit)
		i++
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(hits)/float64(b.N), "signals/event")
}

func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{100, 1000, 2000} {
		b.Run(fmt.Sprintf("synthetic-%d", n), func(b *testing.B) { benchmark(b, mustCompile(b, synthetic(n)...)) })
	}
	corpus := os.Getenv("TOCSIN_CORPUS")
	if corpus == "" {
		return
	}
	rules, _ := ParseFS(os.DirFS(filepath.Join(corpus, "sigma")))
	base, _ := Compile(rules, Options{Schema: testSchema(b)})
	// There are not enough rules about networks: copies, and copies each with an
	// exception of its own, so that no two look for the same.
	for _, kind := range []string{"copies", "variants"} {
		for _, n := range []int{100, 1000, 2000} {
			var many []*Rule
			var text strings.Builder
			text.WriteString("rules:\n")
			for i := 0; len(many) < n; i++ {
				r := *base.Rules[i%len(base.Rules)]
				if r.Correlation != nil || strings.HasSuffix(r.ID, "-events") {
					continue
				}
				r.ID, r.Name = fmt.Sprintf("%s-%d", r.ID, i), ""
				many = append(many, &r)
				fmt.Fprintf(&text, "  %s:\n    exceptions:\n      - {when: {destination.port: %d}, reason: r, author: a, expires: 2099-01-01}\n", r.ID, 20_000+i)
			}
			opt := Options{Schema: testSchema(b)}
			if kind == "variants" {
				var errs []*Error
				if opt.Tuning, errs = ParseTuning("tuning.yml", []byte(text.String())); len(errs) > 0 {
					b.Fatal(errs[0])
				}
			}
			set, errs := Compile(many, opt)
			if len(errs) > 0 {
				b.Fatal(errs[0])
			}
			b.Run(fmt.Sprintf("sigmahq-%s-%d", kind, n), func(b *testing.B) { benchmark(b, set) })
		}
	}
}

// BenchmarkCompile is what a reload costs: from text to a set that matches.
func BenchmarkCompile(b *testing.B) {
	texts := synthetic(2000)
	schema := testSchema(b)
	b.Run("synthetic-2000", func(b *testing.B) {
		for b.Loop() {
			var rules []*Rule
			for _, text := range texts {
				rs, errs := Parse("r.yml", []byte(text))
				if len(errs) > 0 {
					b.Fatal(errs[0])
				}
				rules = append(rules, rs...)
			}
			if _, errs := Compile(rules, Options{Schema: schema}); len(errs) > 0 {
				b.Fatal(errs[0])
			}
		}
	})
}
