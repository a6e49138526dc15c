package console

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/sse"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/incident"
	"github.com/tocsin/tocsin/store"
)

type judgement struct {
	Status  *string `json:"status,omitempty" enum:"open,acknowledged,closed" doc:"Absent: as it is, or closed if a verdict is given"`
	Verdict *string `json:"verdict,omitempty" enum:",true_positive,false_positive,benign" doc:"Needs a reason; empty: takes the verdict back"`
	Reason  *string `json:"reason,omitempty" maxLength:"4096" doc:"Why"`
}

type judgeInput struct {
	RecordID
	Body judgement
}

// byConsole stands for the person where there is no sign-in.
const byConsole = "console"

func (c *console) judge(ctx context.Context, in *judgeInput) (*body[Record], error) {
	id, err := event.ParseID(in.ID)
	if err != nil {
		return nil, newProblem(http.StatusUnprocessableEntity, err.Error())
	}
	a, err := incident.Judge(ctx, c.Store, id, incident.Decision(in.Body), byConsole, time.Now().UTC())
	if errors.Is(err, incident.ErrDecision) {
		return nil, newProblem(http.StatusUnprocessableEntity, err.Error())
	}
	if err != nil {
		return nil, answer(err)
	}
	c.judged.Add(1)
	e := a.Event()
	return &body[Record]{newRecord(&e)}, nil
}

const streamPath = "/api/v1/alerts/stream"

// changed tells a page that what it shows may be out of date. It is a state
// and not a difference, so a page that missed some misses nothing.
type changed struct {
	Alerts uint64    `json:"alerts" doc:"Alerts in the store"`
	Judged uint64    `json:"judged" doc:"Decisions made through this server since it started"`
	To     time.Time `json:"to" doc:"Time of the newest event or alert"`
}

// An open stream looks each second, or less often where looking takes so long
// that it would take more than a tenth of the time.
const (
	poll     = time.Second
	idleness = 10
)

func (c *console) registerStream(api huma.API) {
	sse.Register(api, huma.Operation{
		OperationID: "watch-alerts", Method: http.MethodGet, Path: streamPath,
		Summary: "A server-sent event whenever the stored alerts have changed, and at once on connection",
	}, map[string]any{"changed": changed{}}, func(ctx context.Context, _ *struct{}, send sse.Sender) {
		select {
		case c.streams <- struct{}{}:
			defer func() { <-c.streams }()
		default:
			return // the browser tries again by itself
		}
		var sent changed
		for first := true; ; first = false {
			began := time.Now()
			now, err := c.look(ctx)
			if err != nil {
				return
			}
			if first || now != sent {
				if send.Data(now) != nil {
					return
				}
				sent = now
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(max(poll, idleness*time.Since(began))):
			}
		}
	})
}

func (c *console) look(ctx context.Context) (changed, error) {
	now := changed{Judged: c.judged.Load()}
	var err error
	if now.Alerts, err = c.total(ctx, store.Alerts); err != nil {
		return now, err
	}
	_, now.To, err = c.Store.Span(ctx)
	return now, err
}
