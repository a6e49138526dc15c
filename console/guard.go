package console

import (
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// policy lets the page load what this server serves and nothing else; no
// script or style stands in the markup itself.
const policy = "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// guard keeps strangers' pages from using the analyst's browser to get here,
// and tells the browser what our own page may do.
func guard(next http.Handler, hosts []string) http.Handler {
	// Refuses requests that change something and come from another origin, by
	// Sec-Fetch-Site or Origin.
	origin := http.NewCrossOriginProtection()
	origin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writeProblem(w, http.StatusForbidden, "a page of another origin may not change anything here")
	}))
	checked := origin.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		if strings.HasPrefix(r.URL.Path, "/api/") {
			h.Set("Cache-Control", "no-store")
		}
		if !ourHost(r.Host, hosts) {
			writeProblem(w, http.StatusMisdirectedRequest, "this console is not called "+r.Host+"; use its address or localhost")
			return
		}
		checked.ServeHTTP(w, r)
	})
}

// ourHost says whether a Host header may mean this server. A name that an
// attacker can point here is refused; an address cannot be rebound.
func ourHost(host string, names []string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return host == "localhost" || slices.Contains(names, host)
}

// problem is an error as RFC 9457 wants it. Column, counted from 1 in
// characters, is where a query's text stopped making sense.
type problem struct {
	huma.ErrorModel
	Column int `json:"column,omitempty"`
}

func newProblem(status int, detail string) *problem {
	return &problem{ErrorModel: huma.ErrorModel{Status: status, Title: http.StatusText(status), Detail: detail}}
}

func writeProblem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	// An error here means that the client is gone.
	_ = json.NewEncoder(w).Encode(newProblem(status, detail))
}
