package evidence

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The interface of a sensor that records, for consoles and people:
//
//	GET    /evidence/v1/status     the ring's account
//	POST   /evidence/v1/packets    {"sessions": […]}: their packets, as pcapng
//	GET    /evidence/v1/pins       what is pinned
//	PUT    /evidence/v1/pins       a Pin
//	DELETE /evidence/v1/pins/{id}
//
// Every request carries the token: Authorization: Bearer TOKEN. The answer with
// packets begins with the header Tocsin-Plan, which says how much there is to
// read, and ends with the trailer Tocsin-Report. Where the trailer is missing,
// the answer was cut off, and what came is still good.
const (
	headPlan   = "Tocsin-Plan"
	headReport = "Tocsin-Report"
	apiStatus  = "/evidence/v1/status"
	apiPackets = "/evidence/v1/packets"
	apiPins    = "/evidence/v1/pins"
	maxBody    = 256 << 20 // of a request: a million sessions
	maxMissing = 200       // gaps in a report that is sent; the rest are counted
	patience   = time.Minute
)

// MinToken is how long a token is at least.
const MinToken = 16

// Handler answers requests for a ring's packets.
func Handler(r *Ring, token string) (http.Handler, error) {
	if len(token) < MinToken {
		return nil, fmt.Errorf("evidence: the token has %d characters: want at least %d", len(token), MinToken)
	}
	want := sha256.Sum256([]byte(token))
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(v) // who has gone does not read it
	}
	mux.HandleFunc("GET "+apiStatus, func(w http.ResponseWriter, _ *http.Request) { answer(w, r.Stats()) })
	mux.HandleFunc("GET "+apiPins, func(w http.ResponseWriter, _ *http.Request) { answer(w, r.Pins()) })
	mux.HandleFunc("PUT "+apiPins, func(w http.ResponseWriter, q *http.Request) {
		var p Pin
		if err := json.NewDecoder(http.MaxBytesReader(w, q.Body, 1<<20)).Decode(&p); err != nil {
			http.Error(w, "evidence: the pin: "+err.Error(), http.StatusBadRequest)
			return
		}
		switch err := r.Pin(p); {
		case errors.Is(err, ErrFull):
			http.Error(w, err.Error(), http.StatusInsufficientStorage)
		case err != nil:
			http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		default:
			w.WriteHeader(http.StatusNoContent)
		}
	})
	mux.HandleFunc("DELETE "+apiPins+"/{id}", func(w http.ResponseWriter, q *http.Request) {
		switch ok, err := r.Release(q.PathValue("id")); {
		case err != nil:
			http.Error(w, err.Error(), http.StatusInternalServerError)
		case !ok:
			http.Error(w, "evidence: nothing is pinned under that name", http.StatusNotFound)
		default:
			w.WriteHeader(http.StatusNoContent)
		}
	})
	mux.HandleFunc("POST "+apiPackets, func(w http.ResponseWriter, q *http.Request) {
		var body request
		if err := json.NewDecoder(http.MaxBytesReader(w, q.Body, maxBody)).Decode(&body); err != nil {
			http.Error(w, "evidence: the sessions: "+err.Error(), http.StatusBadRequest)
			return
		}
		if len(body.Sessions) == 0 {
			http.Error(w, "evidence: no sessions were asked for", http.StatusUnprocessableEntity)
			return
		}
		control := http.NewResponseController(w)
		w.Header().Set("Content-Type", "application/x-pcapng")
		w.Header().Set("Trailer", headReport)
		report, err := r.Fetch(q.Context(), body.Sessions, &slow{w, control}, func(p Plan) {
			w.Header().Set(headPlan, strconv.FormatInt(p.Bytes, 10))
		})
		if err != nil {
			panic(http.ErrAbortHandler) // the trailer does not come
		}
		if n := len(report.Missing); n > maxMissing {
			report.Missing = append(report.Missing[:maxMissing], Gap{Why: fmt.Sprintf("and %d more stretches of time", n-maxMissing)})
		}
		if text, err := json.Marshal(report); err == nil {
			w.Header().Set(headReport, string(text))
		}
	})
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		given, ok := strings.CutPrefix(q.Header.Get("Authorization"), "Bearer ")
		sum := sha256.Sum256([]byte(given))
		if !ok || subtle.ConstantTimeCompare(sum[:], want[:]) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "evidence: the token is missing or wrong", http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, q)
	}), nil
}

// slow gives a reader as long as it goes on reading.
type slow struct {
	w       io.Writer
	control *http.ResponseController
}

func (s *slow) Write(b []byte) (int, error) {
	s.control.SetWriteDeadline(time.Now().Add(patience)) // not every writer can
	return s.w.Write(b)
}

type request struct {
	Sessions []Session `json:"sessions"`
}

// Client asks a sensor for packets.
type Client struct {
	URL   string // of the sensor, such as https://sensor-1:8444
	Token string
	HTTP  *http.Client // nil: the usual
}

func (c *Client) do(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var send io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		send = bytes.NewReader(text)
	}
	q, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.URL, "/")+path, send)
	if err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	q.Header.Set("Authorization", "Bearer "+c.Token)
	h := c.HTTP
	if h == nil {
		h = http.DefaultClient
	}
	a, err := h.Do(q)
	if err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	if a.StatusCode/100 != 2 {
		defer a.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(a.Body, 1000)) // what there is of it
		return nil, fmt.Errorf("evidence: %s: %s: %s", c.URL, a.Status, strings.TrimSpace(string(text)))
	}
	return a, nil
}

func (c *Client) get(ctx context.Context, path string, v any) error {
	a, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer a.Body.Close()
	if err := json.NewDecoder(io.LimitReader(a.Body, 64<<20)).Decode(v); err != nil {
		return fmt.Errorf("evidence: %s: %w", c.URL, err)
	}
	return nil
}

// Status returns the ring's account.
func (c *Client) Status(ctx context.Context) (s Stats, err error) {
	return s, c.get(ctx, apiStatus, &s)
}

// Pins lists what is pinned there.
func (c *Client) Pins(ctx context.Context) (list []Pin, err error) {
	return list, c.get(ctx, apiPins, &list)
}

// Pin pins packets there.
func (c *Client) Pin(ctx context.Context, p Pin) error {
	a, err := c.do(ctx, http.MethodPut, apiPins, p)
	if err != nil {
		return err
	}
	return a.Body.Close()
}

// Release gives pinned packets up.
func (c *Client) Release(ctx context.Context, id string) error {
	a, err := c.do(ctx, http.MethodDelete, apiPins+"/"+id, nil)
	if err != nil {
		return err
	}
	return a.Body.Close()
}

// Fetch writes the packets of sessions that the sensor has, as pcapng. progress,
// if not nil, is told how many bytes have come and how many may come at most.
// Where the connection breaks off, what came is kept and the report says so; it
// does not know the counts then.
func (c *Client) Fetch(ctx context.Context, sessions []Session, out io.Writer, progress func(done, most int64)) (*Report, error) {
	a, err := c.do(ctx, http.MethodPost, apiPackets, request{sessions})
	if err != nil {
		return nil, err
	}
	defer a.Body.Close()
	most, _ := strconv.ParseInt(a.Header.Get(headPlan), 10, 64)
	done := int64(0)
	b := bufio.NewReaderSize(a.Body, 64<<10)
	var failed error
	for buf := make([]byte, 64<<10); ; {
		n, err := b.Read(buf)
		if _, err := out.Write(buf[:n]); err != nil {
			return nil, fmt.Errorf("evidence: %w", err)
		}
		if done += int64(n); progress != nil {
			progress(done, most)
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				failed = err
			}
			break
		}
	}
	report := &Report{}
	text := a.Trailer.Get(headReport)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case failed == nil && text == "":
		failed = io.ErrUnexpectedEOF
	case failed == nil:
		failed = json.Unmarshal([]byte(text), report)
	}
	if failed != nil {
		report.Broken = append(report.Broken, fmt.Sprintf("%s: broke off after %d bytes: %v", c.URL, done, failed))
	}
	return report, nil
}
