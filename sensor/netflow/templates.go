package netflow

import (
	"errors"

	nf "github.com/netsampler/goflow2/v2/decoders/netflow"
)

// errRefused is the error of a template that is not remembered.
var errRefused = errors.New("template beyond the bounds of memory")

type templateKey struct {
	version uint16
	domain  uint32
	id      uint16
}

// templates are those of one exporter, bounded. They implement what the decoder
// asks for.
type templates struct {
	known        map[templateKey]any
	most, fields int
	refused      uint64
}

// AddTemplate implements nf.NetFlowTemplateSystem.
func (t *templates) AddTemplate(version uint16, domain uint32, id uint16, template any) error {
	k := templateKey{version, domain, id}
	_, known := t.known[k]
	fields := fieldsOf(template)
	// Records of no length would never end.
	if len(fields) == 0 || len(fields) > t.fields || nf.GetTemplateSize(version, fields) <= 0 || !known && len(t.known) >= t.most {
		t.refused++
		return errRefused
	}
	t.known[k] = template
	return nil
}

func fieldsOf(template any) []nf.Field {
	switch r := template.(type) {
	case nf.TemplateRecord:
		return r.Fields
	case nf.NFv9OptionsTemplateRecord:
		return append(append([]nf.Field(nil), r.Scopes...), r.Options...)
	case nf.IPFIXOptionsTemplateRecord:
		return append(append([]nf.Field(nil), r.Scopes...), r.Options...)
	}
	return nil
}

// GetTemplate implements nf.NetFlowTemplateSystem.
func (t *templates) GetTemplate(version uint16, domain uint32, id uint16) (any, error) {
	if template, ok := t.known[templateKey{version, domain, id}]; ok {
		return template, nil
	}
	return nil, nf.ErrorTemplateNotFound
}

// RemoveTemplate implements nf.NetFlowTemplateSystem.
func (t *templates) RemoveTemplate(version uint16, domain uint32, id uint16) (any, error) {
	k := templateKey{version, domain, id}
	template, ok := t.known[k]
	if !ok {
		return nil, nf.ErrorTemplateNotFound
	}
	delete(t.known, k)
	return template, nil
}

// GetTemplates implements nf.NetFlowTemplateSystem; the decoder does not ask.
func (t *templates) GetTemplates() nf.FlowBaseTemplateSet { return nil }
