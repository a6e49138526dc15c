package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

// The page as `make web` built it; only .gitkeep in a tree where nobody did.
//
//go:embed all:web/dist
var dist embed.FS

func built() fs.FS {
	sub, err := fs.Sub(dist, "web/dist")
	if err != nil {
		panic(err) // the directory is embedded above
	}
	return sub
}

// page serves the built page from memory. Files under static/ carry a hash of
// their content in their names and are kept by browsers for good; the rest is
// asked for anew each time and answered with 304 if it is the same.
type page struct {
	files map[string]file
}

type file struct {
	body []byte
	etag string
}

const index = "index.html"

func newPage(from fs.FS) *page {
	p := &page{files: map[string]file{}}
	err := fs.WalkDir(from, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path.Base(name) == ".gitkeep" {
			return err
		}
		body, err := fs.ReadFile(from, name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(body)
		p.files[name] = file{body, `"` + hex.EncodeToString(sum[:8]) + `"`}
		return nil
	})
	if err != nil {
		panic(err) // from is embedded in the binary
	}
	return p
}

// ServeHTTP implements http.Handler.
func (p *page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		writeProblem(w, http.StatusMethodNotAllowed, "the page can only be read")
		return
	}
	name := strings.TrimPrefix(r.URL.Path, "/")
	f, ok := p.files[name]
	hashed := strings.HasPrefix(name, "static/")
	switch {
	case ok && hashed:
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	case hashed:
		http.NotFound(w, r) // of another build; the page reloads itself
		return
	case !ok:
		// Every other address is a state of the page, which reads it itself.
		name = index
		if f, ok = p.files[index]; !ok {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte("This binary was built without the console's page. Run `make web` and build again.\nThe API is here all the same: /openapi.json\n"))
			return
		}
		fallthrough
	default:
		w.Header().Set("Cache-Control", "no-cache")
	}
	w.Header().Set("ETag", f.etag)
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(f.body))
}
