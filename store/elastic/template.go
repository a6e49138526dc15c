package elastic

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tocsin/tocsin/event"
)

// placeField is what searches are sorted by: event.Event.Place. Of an event
// that is its identifier, and the field another name for event.id; of an alert
// it is a field of its own.
const placeField = "tocsin.place"

// maxKeyword is how many characters of a text are indexed: Lucene takes terms
// of 32,766 bytes, and a character may have four. A longer text is kept, but
// not found.
const maxKeyword = 8191

// Template is an index template: what its indices are like.
type Template struct {
	Name     string
	Patterns []string
	Settings map[string]any
	Mappings map[string]any
	Alias    string
}

// Templates makes the templates for a prefix and a schema: strict, for what is
// not documented is kept but not indexed.
//
// Objects in lists (ics.objects, dns.answers) are plain objects rather than
// nested documents: queries ask for a field of any object in a list, and a
// nested document for each of them would multiply what is indexed. Nothing is
// analysed as text: a rule or an analyst looks for values, parts of values with
// wildcards, or bare words within any value.
func Templates(prefix string, schema *event.Schema, shards int) []Template {
	var alerts []event.FieldDoc
	alertSchema, err := event.NewSchema()
	if err != nil {
		panic(err) // the fields that every schema has
	}
	alerts = alertSchema.Fields()
	settings := func(fields, shards int) map[string]any {
		return map[string]any{
			"number_of_shards":           shards,
			"auto_expand_replicas":       "0-1",
			"refresh_interval":           "1s",
			"mapping.total_fields.limit": max(1000, 2*fields),
		}
	}
	return []Template{
		{
			Name: prefix + "-events", Patterns: []string{prefix + eventsPart + "*"}, Alias: prefix + "-events",
			Settings: settings(len(schema.Fields()), max(shards, 1)),
			Mappings: mappings(schema.Fields(), map[string]any{"type": "alias", "path": "event.id"}),
		},
		{
			Name: prefix + "-alerts", Patterns: []string{prefix + alertsPart + "*"}, Alias: prefix + "-alerts",
			Settings: settings(len(alerts), 1),
			Mappings: mappings(alerts, map[string]any{"type": "keyword"}),
		},
	}
}

func mappings(docs []event.FieldDoc, place map[string]any) map[string]any {
	root := map[string]any{}
	for _, d := range docs {
		if d.Type == event.Nested {
			group(root, d.Name+".")
			continue
		}
		in := group(root, d.Name)
		in[d.Name[strings.LastIndexByte(d.Name, '.')+1:]] = mapping(d)
	}
	group(root, placeField)["place"] = place
	return map[string]any{"dynamic": false, "properties": root}
}

// group returns the properties of the groups that a name lies in, and makes
// those that are not there.
func group(properties map[string]any, name string) map[string]any {
	for {
		head, rest, more := strings.Cut(name, ".")
		if !more {
			return properties
		}
		object, ok := properties[head].(map[string]any)
		if !ok {
			object = map[string]any{"properties": map[string]any{}}
			properties[head] = object
		}
		properties, name = object["properties"].(map[string]any), rest
	}
}

// mapping is how a field is indexed.
func mapping(d event.FieldDoc) map[string]any {
	switch d.Type {
	case event.Keyword:
		return map[string]any{"type": "keyword", "ignore_above": maxKeyword}
	case event.Date:
		// The capture's clock gives nanoseconds. What a packet says of a time
		// may lie outside of what those can express, 1970 to 2262, and is no
		// reason to refuse the event.
		if slices.ContainsFunc(clockFields, func(c event.FieldDoc) bool { return c.Name == d.Name }) {
			return map[string]any{"type": "date_nanos"}
		}
		return map[string]any{"type": "date", "ignore_malformed": true}
	}
	return map[string]any{"type": string(d.Type)} // ip, long, double, boolean
}

// clockFields are documented by event itself: their times are the capture's.
var clockFields = append(event.CoreFields(), event.AlertFields()...)

// body is the template as the server takes it, without a lifecycle.
func (t *Template) body() map[string]any {
	index := map[string]any{}
	for k, v := range t.Settings {
		index[k] = v
	}
	return map[string]any{
		"index_patterns": t.Patterns,
		"priority":       500,
		"template": map[string]any{
			"settings": map[string]any{"index": index},
			"mappings": t.Mappings,
			"aliases":  map[string]any{t.Alias: map[string]any{}},
		},
	}
}

// MarshalJSON writes the template as the server takes it.
func (t *Template) MarshalJSON() ([]byte, error) { return json.Marshal(t.body()) }

// Prepare makes the cluster ready to be written to: index templates and, where
// the server has them, lifecycle policies. It says on Log what the server
// lacks. It changes nothing that is as it should be, and may be called by
// several processes at once.
func (s *Store) Prepare(ctx context.Context) error {
	lifecycle, err := s.hasLifecycle(ctx)
	if err != nil {
		return s.wrap("prepare", err)
	}
	kept := []time.Duration{s.cfg.EventsKept, s.cfg.AlertsKept + 31*24*time.Hour} // an index of alerts is a month long
	if s.cfg.AlertsKept == 0 {
		kept[1] = 0
	}
	for i, t := range Templates(s.cfg.Prefix, s.cfg.Schema, s.cfg.Shards) {
		if lifecycle && kept[i] > 0 {
			if err := s.installPolicy(ctx, t.Name, kept[i]); err != nil {
				return s.wrap("lifecycle policy "+t.Name, err)
			}
			t.Settings["lifecycle.name"] = t.Name
		}
		if err := s.install(ctx, &t); err != nil {
			return s.wrap("index template "+t.Name, err)
		}
	}
	return nil
}

// hasLifecycle asks whether the server executes lifecycle policies.
func (s *Store) hasLifecycle(ctx context.Context) (bool, error) {
	var status struct {
		Mode string `json:"operation_mode"`
	}
	err := s.ask(ctx, http.MethodGet, "/_ilm/status", nil, nil, &status)
	var f *fault
	switch {
	case err == nil:
		if status.Mode != "RUNNING" {
			s.cfg.Log.Warn("elasticsearch: lifecycle policies are installed, but the server does not execute them now", "cluster", s.name, "mode", status.Mode)
		}
		return true, nil
	case errors.As(err, &f) && !passing(err) && f.Status != http.StatusUnauthorized:
		s.cfg.Log.Warn("elasticsearch: the server has no lifecycle policies: old events stay until tocsin expire deletes them", "cluster", s.name, "why", f.Error())
		return false, nil
	}
	return false, err
}

// installPolicy puts a policy if there is none of its name: the one that is
// there may be what the operator wants.
func (s *Store) installPolicy(ctx context.Context, name string, kept time.Duration) error {
	err := s.ask(ctx, http.MethodGet, "/_ilm/policy/"+name, nil, nil, nil)
	if !isStatus(err, http.StatusNotFound) {
		return err
	}
	return s.ask(ctx, http.MethodPut, "/_ilm/policy/"+name, nil, policy(kept), nil)
}

// policy is a lifecycle policy that deletes an index some time after it was
// made. What it holds may be older: a replay of an old capture stays as long.
func policy(kept time.Duration) map[string]any {
	return map[string]any{"policy": map[string]any{"phases": map[string]any{
		"hot":    map[string]any{"min_age": "0ms", "actions": map[string]any{"set_priority": map[string]any{"priority": 100}}},
		"delete": map[string]any{"min_age": fmt.Sprintf("%dh", int64(kept/time.Hour)), "actions": map[string]any{"delete": map[string]any{}}},
	}}}
}

// install puts a template if it is not there as it should be, and gives the
// indices that are there already the fields that it adds.
func (s *Store) install(ctx context.Context, t *Template) error {
	body := t.body()
	text, err := json.Marshal(body) // keys of maps are sorted
	if err != nil {
		return err
	}
	sum := sha256.Sum256(text)
	hash := hex.EncodeToString(sum[:8])
	body["_meta"] = map[string]any{"made_by": "tocsin", "hash": hash}

	var have struct {
		Templates []struct {
			Template struct {
				Meta struct {
					Hash string `json:"hash"`
				} `json:"_meta"`
			} `json:"index_template"`
		} `json:"index_templates"`
	}
	err = s.ask(ctx, http.MethodGet, "/_index_template/"+t.Name, nil, nil, &have)
	switch {
	case err == nil && len(have.Templates) == 1 && have.Templates[0].Template.Meta.Hash == hash:
		return nil
	case err != nil && !isStatus(err, http.StatusNotFound):
		return err
	}
	if err := s.ask(ctx, http.MethodPut, "/_index_template/"+t.Name, nil, body, nil); err != nil {
		return err
	}
	err = s.ask(ctx, http.MethodPut, "/"+t.Patterns[0]+"/_mapping", unavailableOK, t.Mappings, nil)
	var f *fault
	if errors.As(err, &f) && f.Status/100 == 4 {
		s.cfg.Log.Warn("elasticsearch: indices that exist keep their fields; the new ones come with the next index", "template", t.Name, "why", f.Error())
		return nil
	}
	return err
}
