package s7comm

// Of what a flow remembers, so that a write can say what was there before: 16
// KiB of values with the bits of them that are known. Bytes beyond are not.
const (
	pageSize = 32
	maxPages = 512
)

// place names a page of an area of memory.
type place struct {
	area uint8
	db   uint16
	page uint32
}

// page holds neighbouring bytes, and of each which bits are known.
type page struct {
	values, known [pageSize]byte
}

// memory is the bytes that a flow has seen. The zero memory is empty.
type memory struct {
	pages map[place]*page
}

// get copies bytes to b, and reports whether the masked bits of all are known.
func (m *memory) get(area uint8, db uint16, addr uint32, b []byte, mask byte) bool {
	for i := range b {
		at := addr + uint32(i)
		p := m.pages[place{area, db, at / pageSize}]
		if p == nil || p.known[at%pageSize]&mask != mask {
			return false
		}
		b[i] = p.values[at%pageSize]
	}
	return true
}

// set remembers the masked bits of bytes.
func (m *memory) set(area uint8, db uint16, addr uint32, b []byte, mask byte) {
	var p *page
	var have place
	for i := range b {
		at := addr + uint32(i)
		if want := (place{area, db, at / pageSize}); p == nil || want != have {
			have = want
			p = m.pages[want]
			if p == nil {
				if len(m.pages) == maxPages {
					return
				}
				if m.pages == nil {
					m.pages = map[place]*page{}
				}
				p = new(page)
				m.pages[want] = p
			}
		}
		k := at % pageSize
		p.values[k] = p.values[k]&^mask | b[i]&mask
		p.known[k] |= mask
	}
}
