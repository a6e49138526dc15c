package elastic

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
)

// notesPart names the index of small documents that are neither events nor
// alerts, as the ledger of rules. They are never expired.
const notesPart = "-notes"

// Note returns the text of a small document; nil if there is none.
func (s *Store) Note(ctx context.Context, name string) ([]byte, error) {
	text, _, err := s.note(ctx, name)
	return text, s.wrap("note "+name, err)
}

// noteTerms are where a document stands: it is changed on the condition that it
// still stands there.
type noteTerms struct{ sequence, term int64 }

func (s *Store) note(ctx context.Context, name string) ([]byte, *noteTerms, error) {
	var have struct {
		Sequence int64 `json:"_seq_no"`
		Term     int64 `json:"_primary_term"`
		Source   struct {
			Text []byte `json:"text"`
		} `json:"_source"`
	}
	err := s.ask(ctx, http.MethodGet, "/"+s.cfg.Prefix+notesPart+"/_doc/"+name, nil, nil, &have)
	switch {
	case isStatus(err, http.StatusNotFound):
		return nil, nil, nil
	case err != nil:
		return nil, nil, err
	}
	return have.Source.Text, &noteTerms{have.Sequence, have.Term}, nil
}

// ChangeNote puts what change makes of a small document in its place, again as
// long as other processes come between. Of a connection that breaks it may not
// know whether the document was written: change may then be made twice.
func (s *Store) ChangeNote(ctx context.Context, name string, change func(old []byte) ([]byte, error)) error {
	for attempt := 0; ; attempt++ {
		old, at, err := s.note(ctx, name)
		if err != nil {
			return s.wrap("note "+name, err)
		}
		text, err := change(old)
		if err != nil {
			return err
		}
		condition := url.Values{"op_type": {"create"}}
		if at != nil {
			condition = url.Values{"if_seq_no": {strconv.FormatInt(at.sequence, 10)}, "if_primary_term": {strconv.FormatInt(at.term, 10)}}
		} else if err := s.makeNotes(ctx); err != nil {
			return s.wrap("note "+name, err)
		}
		err = s.ask(ctx, http.MethodPut, "/"+s.cfg.Prefix+notesPart+"/_doc/"+name, condition, map[string]any{"text": text}, nil)
		if !isStatus(err, http.StatusConflict) {
			return s.wrap("note "+name, err)
		}
		if err := pause(ctx, attempt); err != nil {
			return s.wrap("note "+name, err)
		}
	}
}

// makeNotes makes the index: its texts are kept and not searched.
func (s *Store) makeNotes(ctx context.Context) error {
	body := map[string]any{
		"mappings": map[string]any{"dynamic": false, "properties": map[string]any{"text": map[string]any{"type": "binary"}}},
		"settings": map[string]any{"number_of_shards": 1, "auto_expand_replicas": "0-1"},
	}
	err := s.ask(ctx, http.MethodPut, "/"+s.cfg.Prefix+notesPart, nil, body, nil)
	if isStatus(err, http.StatusBadRequest) { // it is there
		return nil
	}
	return err
}
