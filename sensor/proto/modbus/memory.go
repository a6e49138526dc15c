package modbus

// object is what a value is remembered by.
type object struct {
	unit uint8
	typ  objectType
	addr uint16
}

// page is where o is remembered: with its neighbours.
func (o object) page() uint32 {
	return uint32(o.unit)<<24 | uint32(o.typ)<<16 | uint32(o.addr/pageSize)
}

const (
	pageSize = 32
	// maxPages bounds what a flow remembers, so that a write can say what was
	// there before: 16 KiB of values. Objects beyond are not remembered.
	maxPages = 256
)

// memory is the values that a flow has seen of objects. Those that are polled
// together lie together: to remember a poll is a look-up or two. The zero
// memory is empty.
type memory struct {
	pages map[uint32]*page
	last  *page // used
}

// page holds the values of neighbours.
type page struct {
	number uint32
	known  uint32 // a bit for each
	values [pageSize]uint16
}

func (m *memory) find(o object) *page {
	n := o.page()
	if m.last == nil || m.last.number != n {
		p := m.pages[n]
		if p == nil {
			return nil
		}
		m.last = p
	}
	return m.last
}

// get returns the value that an object had last.
func (m *memory) get(o object) (v uint16, known bool) {
	p := m.find(o)
	if p == nil || p.known&(1<<(o.addr%pageSize)) == 0 {
		return 0, false
	}
	return p.values[o.addr%pageSize], true
}

// set remembers the value of an object.
func (m *memory) set(o object, v uint16) {
	p := m.find(o)
	if p == nil {
		if len(m.pages) == maxPages {
			return
		}
		if m.pages == nil {
			m.pages = map[uint32]*page{}
		}
		p = &page{number: o.page()}
		m.pages[p.number], m.last = p, p
	}
	p.known |= 1 << (o.addr % pageSize)
	p.values[o.addr%pageSize] = v
}
