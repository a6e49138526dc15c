package modbus

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/sensor/proto"
)

// emit makes the event of a request and its response. Either may be missing:
// r.pdu is empty of an unsolicited response, response of an unanswered request.
func (p *parser) emit(r *request, response []byte, latency time.Duration, out *proto.Out) {
	p.fields, p.out = p.fields[:0], out
	asked := r.pdu
	main := asked
	if len(main) == 0 {
		main = response
	}
	code := main[0] & 0x7f
	name, operation := meaning(main)
	if name == unassigned || len(asked) > 0 && asked[0] >= 0x80 {
		r.odd |= unknownFunction
	}
	if p.client == proto.Resp {
		r.odd |= reversedRoles
	}

	p.str("ics.protocol", "modbus")
	p.str("ics.operation", operation)
	p.num("ics.function.code", uint64(code))
	p.str("ics.function.name", name)
	p.num("ics.unit", uint64(r.unit))
	p.num("modbus.transaction_id", uint64(r.tid))
	if sub, name, ok := subfunction(main); ok {
		p.num("modbus.subfunction.code", sub)
		p.str("modbus.subfunction.name", name)
	}

	done := false // the device did it
	switch {
	case len(response) == 0:
		p.str("event.outcome", "unknown")
	case response[0] >= 0x80:
		exception := uint8(0)
		if len(response) > 1 {
			exception = response[1]
		}
		if len(response) != 2 {
			r.odd |= lengthMismatch
		}
		p.num("modbus.exception.code", uint64(exception))
		p.str("modbus.exception.name", exceptionName(exception))
		p.num("ics.status.code", uint64(exception))
		p.str("ics.status.name", exceptionName(exception))
		p.str("event.outcome", "failure")
	default:
		done = true
		p.num("ics.status.code", 0)
		p.str("ics.status.name", "ok")
		p.str("event.outcome", "success")
	}
	if len(response) > 0 && len(asked) > 0 {
		p.num("ics.latency", uint64(max(latency, 0)))
	}
	var answer []byte // of the same function, no exception
	if done && (len(asked) == 0 || response[0] == asked[0]) {
		answer = response
	}
	p.content(r, asked, answer)
	if r.odd != 0 {
		p.add("tocsin.protocol.anomaly", r.odd.value())
	}
	out.Emit(r.at, p.fields)
}

// content adds what the function is about: objects, records, identification.
// Both asked and answer may be empty, though not both.
func (p *parser) content(r *request, asked, answer []byte) {
	code := uint8(0)
	if len(asked) > 0 {
		code = asked[0]
	} else if len(answer) > 0 {
		code = answer[0]
	}
	switch code {
	case readCoils, readDiscreteInputs, readHoldingRegisters, readInputRegisters:
		if len(asked) < 5 {
			break
		}
		addr, n := u16(asked[1:]), u16(asked[3:])
		p.span(addr, n)
		p.limit(r, code, n)
		if len(answer) > 2 {
			p.read(r, functions[code].objects, addr, n, answer[2:])
		}
		return
	case writeSingleCoil, writeSingleRegister:
		if len(asked) >= 5 && len(answer) >= 5 && !bytes.Equal(asked[:5], answer[:5]) {
			r.odd |= echoMismatch
		}
		write := asked
		if len(asked) == 0 {
			write = answer // an echo
		}
		if len(write) < 5 {
			break
		}
		addr, v := u16(write[1:]), u16(write[3:])
		if code == writeSingleCoil {
			if v != 0 && v != 0xff00 {
				r.odd |= invalidValue
			}
			v = min(v>>8, 1)
			p.span(addr, 1)
			p.write(r, coil, addr, 1, []byte{byte(v)}, len(answer) > 0)
			return
		}
		p.span(addr, 1)
		p.write(r, holdingRegister, addr, 1, write[3:5], len(answer) > 0)
		return
	case writeMultipleCoils, writeMultipleRegisters:
		write := asked
		if len(asked) == 0 {
			write = answer // says where, but not what
		}
		if len(write) < 5 {
			break
		}
		if len(asked) >= 5 && len(answer) >= 5 && !bytes.Equal(asked[:5], answer[:5]) {
			r.odd |= echoMismatch
		}
		addr, n := u16(write[1:]), u16(write[3:])
		p.span(addr, n)
		p.limit(r, code, n)
		if len(asked) > 6 {
			p.write(r, functions[code].objects, addr, n, asked[6:], len(answer) > 0)
		}
		return
	case maskWriteRegister:
		write := asked
		if len(asked) == 0 {
			write = answer
		}
		if len(write) < 7 {
			break
		}
		if len(asked) > 0 && len(answer) > 0 && !bytes.Equal(asked, answer) {
			r.odd |= echoMismatch
		}
		addr, and, or := u16(write[1:]), u16(write[3:]), u16(write[5:])
		p.span(addr, 1)
		p.num("modbus.mask.and", uint64(and))
		p.num("modbus.mask.or", uint64(or))
		old, known := p.values.get(object{r.unit, holdingRegister, addr})
		if known || and == 0 {
			p.write(r, holdingRegister, addr, 1, binary.BigEndian.AppendUint16(p.out.Bytes(2), old&and|or&^and), len(answer) > 0)
		} else {
			p.objects(append(p.out.Fields(2), event.Field{Name: "address", Value: event.Int(int64(addr))}, holdingRegister.field()))
		}
		return
	case readWriteRegisters:
		if len(asked) < 10 {
			break
		}
		addr, n := u16(asked[1:]), u16(asked[3:])
		p.span(addr, n)
		p.num("modbus.write.address", uint64(u16(asked[5:])))
		p.num("modbus.write.quantity", uint64(u16(asked[7:])))
		p.limit(r, code, n)
		// The write comes before the read (section 6.17). The event's objects
		// are those of the write; what is read is only remembered.
		p.write(r, holdingRegister, u16(asked[5:]), u16(asked[7:]), asked[10:], len(answer) > 0)
		if len(answer) > 2 {
			for i := range min(int(n), holdingRegister.room(answer[2:])) {
				p.values.set(object{r.unit, holdingRegister, addr + uint16(i)}, holdingRegister.value(answer[2:], i))
			}
		}
		return
	case readFIFOQueue:
		if len(asked) < 3 {
			break
		}
		addr := u16(asked[1:])
		p.num("modbus.address", uint64(addr))
		if len(answer) >= 5 {
			n := u16(answer[3:])
			p.num("modbus.quantity", uint64(n))
			if have := min(int(n), fifo.room(answer[5:])); have > 0 {
				p.objects(append(p.out.Fields(3), event.Field{Name: "address", Value: event.Int(int64(addr))}, fifo.field(),
					event.Field{Name: "value", Value: p.numbers(fifo, answer[5:], have)}))
			}
		}
		return
	case readFileRecord, writeFileRecord:
		write := asked
		if len(asked) == 0 {
			write = answer
		}
		p.list("modbus.records", p.records(code, write))
		return
	case encapsulatedInterface:
		if len(asked) > 4 && asked[1] == meiDeviceID {
			r.odd |= lengthMismatch
		}
		if len(answer) >= 7 && answer[1] == meiDeviceID {
			p.list("modbus.device_id", p.identification(answer[6:]))
			return
		}
	}
	skip := 1
	if code == diagnostics {
		skip = 3
	}
	p.hex("modbus.data", asked, skip)
	p.hex("modbus.response_data", answer, skip)
}

// limit notes a quantity that the specification does not allow.
func (p *parser) limit(r *request, code uint8, n uint16) {
	if n == 0 || n > maxQuantity(code) {
		r.odd |= invalidQuantity
	}
}

// room is how many objects of a type some bytes hold.
func (t objectType) room(data []byte) int {
	if t.binary() {
		return 8 * len(data)
	}
	return len(data) / 2
}

// value returns object i of a row of bits or registers.
func (t objectType) value(data []byte, i int) uint16 {
	if t.binary() {
		return uint16(data[i/8]>>(i%8)) & 1
	}
	return u16(data[2*i:])
}

// within is how many of n objects are there. That some are not is odd.
func (t objectType) within(r *request, n uint16, data []byte) int {
	have := t.room(data)
	if have < int(n) {
		r.odd |= lengthMismatch
	}
	return min(int(n), have)
}

// read tells what n objects were that were read, as one run, and remembers
// those that can be written.
func (p *parser) read(r *request, typ objectType, addr, n uint16, data []byte) {
	have := typ.within(r, n, data)
	if have == 0 {
		return
	}
	if typ == coil || typ == holdingRegister {
		for i := range have {
			p.values.set(object{r.unit, typ, addr + uint16(i)}, typ.value(data, i))
		}
	}
	run := append(p.out.Fields(4), event.Field{Name: "address", Value: event.Int(int64(addr))})
	if have > 1 {
		run = append(run, event.Field{Name: "count", Value: event.Int(int64(have))})
	}
	p.objects(append(run, typ.field(), event.Field{Name: "value", Value: p.numbers(typ, data, have)}))
}

// numbers are the values of the first n objects: a number, or a list of at
// most maxObjects.
func (p *parser) numbers(typ objectType, data []byte, n int) event.Value {
	if n == 1 {
		return event.Int(int64(typ.value(data, 0)))
	}
	n = min(n, maxObjects)
	list := p.out.Values(n)
	for i := range n {
		list = append(list, event.Int(int64(typ.value(data, i))))
	}
	return event.List(list...)
}

// objects says what the event is about: one object, or a run of them.
func (p *parser) objects(fields []event.Field) {
	p.add("ics.objects", event.List(append(p.out.Values(1), event.Object(fields...))...))
}

// field is the type as a field of an object.
func (t objectType) field() event.Field {
	return event.Field{Name: "type", Value: event.Str(t.String())}
}

// write lists n objects that are to be written one by one, with what they were;
// if the device did it, their new values are remembered.
func (p *parser) write(r *request, typ objectType, addr, n uint16, data []byte, done bool) {
	have := typ.within(r, n, data)
	list := p.out.Values(min(have, maxObjects))
	for i := range have {
		v, o := typ.value(data, i), object{r.unit, typ, addr + uint16(i)}
		if i < maxObjects {
			fields := append(p.out.Fields(4),
				event.Field{Name: "address", Value: event.Int(int64(o.addr))}, typ.field(), event.Field{Name: "value", Value: event.Int(int64(v))})
			if old, known := p.values.get(o); known {
				fields = append(fields, event.Field{Name: "old_value", Value: event.Int(int64(old))})
			}
			list = append(list, event.Object(fields...))
		}
		if done {
			p.values.set(o, v)
		}
	}
	p.list("ics.objects", list)
}

// records lists the file records of a request (sections 6.14 and 6.15).
func (p *parser) records(code uint8, pdu []byte) (list []event.Value) {
	if len(pdu) < 2 {
		return nil
	}
	list = p.out.Values(maxRecords)
	for b := pdu[2:]; len(b) >= 7 && len(list) < maxRecords; {
		file, number, length := u16(b[1:]), u16(b[3:]), u16(b[5:])
		list = append(list, event.Object(append(p.out.Fields(3),
			event.Field{Name: "file", Value: event.Int(int64(file))},
			event.Field{Name: "number", Value: event.Int(int64(number))},
			event.Field{Name: "length", Value: event.Int(int64(length))})...))
		b = b[7:]
		if code == writeFileRecord {
			b = b[min(2*int(length), len(b)):]
		}
	}
	return list
}

// identification lists device identification objects; b begins with their number.
func (p *parser) identification(b []byte) []event.Value {
	n := min(int(b[0]), maxRecords)
	list := p.out.Values(n)
	for b = b[1:]; len(b) >= 2 && len(list) < n; {
		id, size := b[0], int(b[1])
		b = b[2:]
		size = min(size, len(b))
		o := append(p.out.Fields(3), event.Field{Name: "id", Value: event.Int(int64(id))})
		if int(id) < len(deviceIDNames) {
			o = append(o, event.Field{Name: "name", Value: event.Str(deviceIDNames[id])})
		}
		list = append(list, event.Object(append(o, event.Field{Name: "value", Value: p.out.Text(b[:size])})...))
		b = b[size:]
	}
	return list
}

func (p *parser) span(addr, n uint16) {
	p.num("modbus.address", uint64(addr))
	p.num("modbus.quantity", uint64(n))
}

func (p *parser) add(name string, v event.Value) {
	p.fields = append(p.fields, event.Field{Name: name, Value: v})
}

func (p *parser) num(name string, n uint64) { p.add(name, event.Uint(n)) }

func (p *parser) str(name, s string) {
	if s != "" {
		p.add(name, event.Str(s))
	}
}

func (p *parser) list(name string, vs []event.Value) {
	if len(vs) > 0 {
		p.add(name, event.List(vs...))
	}
}

// hex adds the bytes of a PDU behind the first skip.
func (p *parser) hex(name string, pdu []byte, skip int) {
	if len(pdu) > skip {
		b := pdu[skip:]
		b = b[:min(len(b), maxData)]
		p.add(name, event.Own(hex.AppendEncode(p.out.Bytes(2*len(b)), b)))
	}
}

func u16(b []byte) uint16 { return binary.BigEndian.Uint16(b) }
