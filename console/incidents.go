package console

import (
	"bytes"
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tocsin/tocsin/console/account"
	"github.com/tocsin/tocsin/incident"
)

func (c *Console) registerIncidents() {
	stale := func(o huma.Operation) huma.Operation {
		o.Errors = append(o.Errors, http.StatusConflict)
		return o
	}
	handle(c, operation("list-incidents", "GET", "/incidents", account.Read, "", "Incidents, the one that changed last first"), c.incidents)
	handle(c, operation("create-incident", "POST", "/incidents", account.Case, "incident.create", "Begin an incident"), c.createIncident)
	handle(c, operation("get-incident", "GET", "/incidents/{id}", account.Read, "", "One incident"), c.incident)
	handle(c, stale(operation("edit-incident", "PATCH", "/incidents/{id}", account.Case, "incident.edit", "Change an incident; its state and owner need the permission respond")), c.editIncident)
	handle(c, operation("link-incident", "POST", "/incidents/{id}/links", account.Case, "incident.link", "Link alerts and assets, or take them off"), c.linkIncident)
	handle(c, operation("pin-evidence", "POST", "/incidents/{id}/pins", account.Respond, "incident.pin", "Keep the evidence of events until the incident is closed"), c.pinIncident)
	handle(c, operation("comment-incident", "POST", "/incidents/{id}/comments", account.Case, "incident.comment", "Comment"), c.commentIncident)
	handle(c, operation("add-task", "POST", "/incidents/{id}/tasks", account.Case, "incident.task", "Add a task"), c.addTask)
	handle(c, operation("edit-task", "PATCH", "/incidents/{id}/tasks/{task}", account.Case, "incident.task", "Do a task, or change it"), c.editTask)
	handle(c, operation("merge-incidents", "POST", "/incidents/{id}/merge", account.Respond, "incident.merge", "Take other incidents into this one"), c.mergeIncidents)
	handle(c, stale(operation("split-incident", "POST", "/incidents/{id}/split", account.Respond, "incident.split", "Move alerts to a new incident")), c.splitIncident)
	handle(c, operation("incident-timeline", "GET", "/incidents/{id}/timeline", account.Read, "", "What the sensors saw and what people did, by time"), c.timeline)
	report := operation("incident-report", "GET", "/incidents/{id}/report", account.Export, "incident.report", "Hand-over: everything about an incident as a page or JSON")
	report.Responses = map[string]*huma.Response{"200": {Description: "The file", Content: map[string]*huma.MediaType{
		"text/html":        {Schema: &huma.Schema{Type: huma.TypeString}},
		"application/json": {Schema: &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}},
	}}}
	handle(c, report, c.incidentReport)
	handle(c, operation("incident-types", "GET", "/incident-types", account.Read, "", "Kinds of incidents, with their check-lists"), c.incidentTypes)
}

type incidentsInput struct {
	State  string `query:"state" enum:",open,report,assess,respond,recover,learn,closed" doc:"open: all but closed"`
	Owner  string `query:"owner" maxLength:"64"`
	Text   string `query:"text" maxLength:"200" doc:"In title or summary"`
	Alert  string `query:"alert" maxLength:"32" doc:"That is linked"`
	Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"100"`
	Cursor int    `query:"cursor" minimum:"0" maximum:"1000000" doc:"The next of the answer before"`
}

type incidentPage struct {
	Items []incident.Incident `json:"items" nullable:"false"`
	Next  int                 `json:"next,omitempty"`
	Total int                 `json:"total"`
}

func (c *Console) incidents(ctx context.Context, in *incidentsInput) (*body[incidentPage], error) {
	list, err := c.book.List(ctx, incident.Filter{State: in.State, Owner: in.Owner, Text: in.Text, Alert: in.Alert})
	if err != nil {
		return nil, err
	}
	out := incidentPage{Items: []incident.Incident{}, Total: len(list)}
	from := min(in.Cursor, len(list))
	to := min(from+in.Limit, len(list))
	if out.Items = append(out.Items, list[from:to]...); to < len(list) {
		out.Next = to
	}
	return &body[incidentPage]{out}, nil
}

type createIncidentInput struct {
	Body struct {
		Title    string   `json:"title" minLength:"1" maxLength:"200"`
		Type     string   `json:"type,omitempty" maxLength:"64" doc:"As /incident-types lists them; absent: other"`
		Severity int      `json:"severity,omitempty" minimum:"0" maximum:"100" doc:"Absent or 0: of the worst alert"`
		Summary  string   `json:"summary,omitempty" maxLength:"65536"`
		Alerts   []string `json:"alerts,omitempty" maxItems:"10000"`
		Assets   []string `json:"assets,omitempty" maxItems:"10000"`
	}
}

// changed tells of an incident that was changed.
func (c *Console) changed(i incident.Incident, err error) (*body[incident.Incident], error) {
	if err != nil {
		return nil, err
	}
	c.hub.incident(i)
	return &body[incident.Incident]{i}, nil
}

func (c *Console) createIncident(ctx context.Context, in *createIncidentInput) (*body[incident.Incident], error) {
	b := in.Body
	tell(ctx, "title", b.Title)
	tell(ctx, "alerts", strconv.Itoa(len(b.Alerts)))
	i, err := c.book.Create(ctx, incident.Incident{Title: b.Title, Type: b.Type, Severity: b.Severity, Summary: b.Summary, Alerts: b.Alerts, Assets: b.Assets}, by(ctx))
	tell(ctx, "incident", i.ID)
	return c.changed(i, err)
}

// IncidentID is the identifier in the path of an operation on one incident.
type IncidentID struct {
	ID string `path:"id" maxLength:"32"`
}

func (c *Console) incident(ctx context.Context, in *IncidentID) (*body[incident.Incident], error) {
	i, err := c.book.Get(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &body[incident.Incident]{i}, nil
}

type editIncidentInput struct {
	IncidentID
	Body incident.Edit
}

func (c *Console) editIncident(ctx context.Context, in *editIncidentInput) (*body[incident.Incident], error) {
	e := in.Body
	for key, v := range map[string]*string{"title": e.Title, "type": e.Type, "owner": e.Owner, "state": e.State, "lessons": e.Lessons} {
		if v != nil {
			tell(ctx, key, *v)
		}
	}
	if p := who(ctx); (e.State != nil || e.Owner != nil) && !p.may(account.Respond) {
		return nil, newProblem(http.StatusForbidden, p.name+" lacks the permission respond, which a change of state or owner needs")
	}
	return c.changed(c.book.Edit(ctx, in.ID, e, by(ctx)))
}

type linkInput struct {
	IncidentID
	Body struct {
		Alerts []string `json:"alerts,omitempty" maxItems:"10000"`
		Assets []string `json:"assets,omitempty" maxItems:"10000"`
		Remove bool     `json:"remove,omitempty"`
	}
}

func (c *Console) linkIncident(ctx context.Context, in *linkInput) (*body[incident.Incident], error) {
	b := in.Body
	tell(ctx, "alerts", strings.Join(b.Alerts, " "))
	tell(ctx, "assets", strings.Join(b.Assets, " "))
	if b.Remove {
		tell(ctx, "remove", "true")
	}
	return c.changed(c.book.Link(ctx, in.ID, b.Alerts, b.Assets, b.Remove, by(ctx)))
}

type pinInput struct {
	IncidentID
	Body struct {
		Events []string `json:"events" nullable:"false" minItems:"1" maxItems:"1000"`
		Remove bool     `json:"remove,omitempty"`
	}
}

func (c *Console) pinIncident(ctx context.Context, in *pinInput) (*body[incident.Incident], error) {
	tell(ctx, "events", strings.Join(in.Body.Events, " "))
	if in.Body.Remove {
		tell(ctx, "remove", "true")
	}
	return c.changed(c.book.Pin(ctx, in.ID, in.Body.Events, in.Body.Remove, by(ctx)))
}

type commentInput struct {
	IncidentID
	Body struct {
		Text string `json:"text" minLength:"1" maxLength:"65536"`
	}
}

func (c *Console) commentIncident(ctx context.Context, in *commentInput) (*body[incident.Incident], error) {
	return c.changed(c.book.Comment(ctx, in.ID, in.Body.Text, by(ctx)))
}

type addTaskInput struct {
	IncidentID
	Body struct {
		Title string `json:"title" minLength:"1" maxLength:"200"`
	}
}

func (c *Console) addTask(ctx context.Context, in *addTaskInput) (*body[incident.Incident], error) {
	tell(ctx, "title", in.Body.Title)
	return c.changed(c.book.AddTask(ctx, in.ID, in.Body.Title, by(ctx)))
}

type editTaskInput struct {
	IncidentID
	Task int `path:"task" minimum:"1" maximum:"1000000"`
	Body incident.TaskEdit
}

func (c *Console) editTask(ctx context.Context, in *editTaskInput) (*body[incident.Incident], error) {
	if in.Body.Done != nil {
		tell(ctx, "done", strconv.FormatBool(*in.Body.Done))
	}
	return c.changed(c.book.EditTask(ctx, in.ID, in.Task, in.Body, by(ctx)))
}

type mergeInput struct {
	IncidentID
	Body struct {
		From []string `json:"from" nullable:"false" minItems:"1" maxItems:"100"`
	}
}

func (c *Console) mergeIncidents(ctx context.Context, in *mergeInput) (*body[incident.Incident], error) {
	tell(ctx, "from", strings.Join(in.Body.From, " "))
	return c.changed(c.book.Merge(ctx, in.ID, in.Body.From, by(ctx)))
}

type splitInput struct {
	IncidentID
	Body struct {
		Title  string   `json:"title" minLength:"1" maxLength:"200"`
		Alerts []string `json:"alerts" nullable:"false" minItems:"1" maxItems:"10000"`
		Assets []string `json:"assets,omitempty" maxItems:"10000"`
	}
}

func (c *Console) splitIncident(ctx context.Context, in *splitInput) (*body[incident.Incident], error) {
	tell(ctx, "title", in.Body.Title)
	i, err := c.book.Split(ctx, in.ID, in.Body.Title, in.Body.Alerts, in.Body.Assets, by(ctx))
	tell(ctx, "incident", i.ID)
	return c.changed(i, err)
}

type moment struct {
	Time     time.Time `json:"time"`
	Kind     string    `json:"kind" enum:"alert,event,comment,change,task"`
	By       string    `json:"by,omitempty"`
	ID       string    `json:"id,omitempty"`
	Text     string    `json:"text"`
	Severity int       `json:"severity,omitempty"`
	Record   Record    `json:"record,omitempty"`
}

type timelineBody struct {
	Items   []moment `json:"items" nullable:"false"`
	Missing []string `json:"missing" nullable:"false" doc:"Linked alerts and pinned events that are not kept any more"`
}

func (c *Console) timelineOf(ctx context.Context, i *incident.Incident) (timelineBody, error) {
	list, missing, err := c.book.Timeline(ctx, i)
	out := timelineBody{Items: []moment{}, Missing: missing}
	for _, m := range list {
		x := moment{Time: m.Time, Kind: m.Kind, By: m.By, ID: m.ID, Text: m.Text, Severity: m.Severity}
		if m.Event != nil {
			x.Record = newRecord(m.Event)
		}
		out.Items = append(out.Items, x)
	}
	return out, err
}

func (c *Console) timeline(ctx context.Context, in *IncidentID) (*body[timelineBody], error) {
	i, err := c.book.Get(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	out, err := c.timelineOf(ctx, &i)
	return &body[timelineBody]{out}, err
}

type reportInput struct {
	IncidentID
	Format string `query:"format" enum:"html,json" default:"html"`
	Lang   string `query:"lang" enum:"en,zh" default:"en"`
}

func (c *Console) incidentReport(ctx context.Context, in *reportInput) (*download, error) {
	tell(ctx, "format", in.Format)
	i, err := c.book.Get(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	t, err := c.timelineOf(ctx, &i)
	if err != nil {
		return nil, err
	}
	r := handOver{Incident: i, Timeline: t, By: who(ctx).name, At: by(ctx).At, Version: c.Version}
	var file bytes.Buffer
	mime := "text/html; charset=utf-8"
	if in.Format == "json" {
		mime = "application/json"
		err = r.json(&file)
	} else {
		err = r.html(&file, in.Lang)
	}
	return &download{mime, `attachment; filename="incident-` + i.ID + `.` + in.Format + `"`, file.Bytes()}, err
}

func (c *Console) incidentTypes(context.Context, *struct{}) (*body[items[incident.Type]], error) {
	return listOf(incident.Types, nil)
}
