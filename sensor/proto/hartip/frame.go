package hartip

import "encoding/binary"

// A message (HART-IP, HCF_SPEC-085, 6.1): version, type, id, status, sequence
// number, and its length with these eight bytes.
const (
	headerLen = 8
	// maxLength is how long a message may be: a HART PDU has at most 255 bytes
	// of data, an audit log a few hundred.
	maxLength = 4096

	request  = 0
	response = 1
	publish  = 2
	nak      = 15

	initiate  = 0
	closing   = 1
	keepAlive = 2
	passing   = 3 // a PDU of the token-passing data link
	direct    = 4
	auditLog  = 5
)

var messageNames = [...]string{"session_initiate", "session_close", "keep_alive", "token_passing_pdu", "direct_pdu", "read_audit_log"}

type message struct {
	version, kind, id, status uint8
	seq                       uint16
	body                      []byte
}

// next reads the message that b begins with. n is its size, 0 where b is too
// short to tell, and -1 where b does not begin with one.
func next(b []byte) (m message, n int) {
	if len(b) > 0 && b[0] != 1 && b[0] != 2 || len(b) > 1 && b[1] > publish && b[1] != nak || len(b) > 2 && b[2] > auditLog {
		return m, -1
	}
	if len(b) < headerLen {
		return m, 0
	}
	n = int(binary.BigEndian.Uint16(b[6:]))
	if n < headerLen || n > maxLength {
		return m, -1
	}
	if len(b) < n {
		return m, 0
	}
	m = message{b[0], b[1], b[2], b[3], binary.BigEndian.Uint16(b[4:]), b[headerLen:n]}
	return m, n
}

// pdu is one of the token-passing data link (HCF_SPEC-081, 5): delimiter,
// address, command, count, data, a check byte.
type pdu struct {
	answer  bool   // of a device: data begin with a response code and a status
	direct  bool   // of a device that speaks HART-IP itself
	burst   bool   // published without being asked
	long    bool   // address is a unique identifier
	address uint64 // 38 bits, or a polling address of 6
	command uint16
	code    uint8 // of an answer
	status  uint8
	data    []byte
}

// Frame types: the lower three bits of a delimiter.
const (
	fromDeviceBurst = 1
	fromMaster      = 2
	fromDevice      = 6
)

const extendedCommand = 31 // its number is in the data

// readPDU takes a PDU apart; ok is false if it does not hold together.
func readPDU(b []byte) (p pdu, ok bool) {
	if len(b) < 5 {
		return p, false
	}
	check := byte(0)
	for _, c := range b {
		check ^= c
	}
	if check != 0 {
		return p, false
	}
	b = b[:len(b)-1]
	d := b[0]
	switch d & 7 {
	case fromDevice:
		p.answer = true
	case fromDeviceBurst:
		p.answer, p.burst = true, true
	case fromMaster:
	default:
		return p, false
	}
	skip := 1
	if p.long = d&0x80 != 0; p.long {
		skip = 5
		if len(b) < 1+skip {
			return p, false
		}
		// The upper two bits say which master, and whether the device bursts.
		p.address = uint64(b[1]&0x3f)<<32 | uint64(binary.BigEndian.Uint32(b[2:]))
	} else {
		p.address = uint64(b[1] & 0x3f)
	}
	b = b[1+skip:]
	expansion := int(d >> 5 & 3)
	if len(b) < expansion+2 {
		return p, false
	}
	b = b[expansion:]
	p.command = uint16(b[0])
	n := int(b[1])
	if p.data = b[2:]; len(p.data) != n {
		return p, false
	}
	if p.answer {
		if n < 2 {
			return p, false
		}
		p.code, p.status, p.data = p.data[0], p.data[1], p.data[2:]
	}
	if p.command == extendedCommand && len(p.data) >= 2 {
		p.command, p.data = binary.BigEndian.Uint16(p.data), p.data[2:]
	}
	return p, true
}

// readDirect takes the first command of a direct PDU (HCF_SPEC-085, 6.4): two
// bytes of status, then of each command its number, a count and data.
func readDirect(b []byte, answer bool) (p pdu, ok bool) {
	const head = 5
	if len(b) < head || len(b) < head+int(b[4]) {
		return p, false
	}
	p = pdu{direct: true, answer: answer, command: binary.BigEndian.Uint16(b[2:]), data: b[head : head+int(b[4])]}
	if answer {
		if len(p.data) < 1 {
			return p, false
		}
		p.status, p.code, p.data = b[0], p.data[0], p.data[1:]
	}
	return p, true
}

// commands are those of HART that are universal or common practice
// (HCF_SPEC-127, HCF_SPEC-151), with what kind of act they are.
var commands = map[uint16]struct{ name, operation string }{
	0: {"read_unique_identifier", "discover"}, 1: {"read_primary_variable", "read"}, 2: {"read_loop_current_and_percent", "read"},
	3: {"read_dynamic_variables", "read"}, 6: {"write_polling_address", "write"}, 7: {"read_loop_configuration", "read"},
	8: {"read_variable_classifications", "read"}, 9: {"read_device_variables", "read"}, 11: {"read_unique_identifier_by_tag", "discover"},
	12: {"read_message", "read"}, 13: {"read_tag_descriptor_date", "discover"}, 14: {"read_transducer_information", "read"},
	15: {"read_device_information", "read"}, 16: {"read_final_assembly_number", "read"}, 17: {"write_message", "write"},
	18: {"write_tag_descriptor_date", "write"}, 19: {"write_final_assembly_number", "write"}, 20: {"read_long_tag", "discover"},
	21: {"read_unique_identifier_by_long_tag", "discover"}, 22: {"write_long_tag", "write"}, 33: {"read_device_variables", "read"},
	34: {"write_damping", "write"}, 35: {"write_range_values", "write"}, 36: {"set_upper_range_value", "write"},
	37: {"set_lower_range_value", "write"}, 38: {"reset_configuration_changed", "write"}, 40: {"fixed_current_mode", "control"},
	41: {"self_test", "diagnose"}, 42: {"device_reset", "control"}, 43: {"set_variable_zero", "write"}, 44: {"write_units", "write"},
	45: {"trim_loop_current_zero", "write"}, 46: {"trim_loop_current_gain", "write"}, 47: {"write_transfer_function", "write"},
	48: {"read_additional_status", "diagnose"}, 49: {"write_transducer_serial_number", "write"}, 50: {"read_variable_assignments", "read"},
	51: {"write_variable_assignments", "write"}, 52: {"set_device_variable_zero", "write"}, 53: {"write_device_variable_units", "write"},
	54: {"read_device_variable_information", "read"}, 55: {"write_device_variable_damping", "write"},
	56: {"write_device_variable_serial_number", "write"}, 59: {"write_preambles", "write"}, 71: {"lock_device", "mode"}, 72: {"squawk", "control"},
	73: {"find_device", "discover"}, 74: {"read_io_system_capabilities", "discover"}, 75: {"poll_sub_device", "discover"},
	76: {"read_lock_state", "read"}, 77: {"send_to_sub_device", "control"}, 79: {"write_device_variable", "control"},
	80: {"read_trim_points", "read"}, 82: {"write_trim_point", "write"}, 83: {"reset_trim", "write"}, 84: {"read_sub_device_identity", "discover"},
	89: {"set_clock", "time"}, 90: {"read_clock", "read"}, 95: {"read_statistics", "diagnose"}, 103: {"write_burst_period", "write"},
	104: {"write_burst_trigger", "write"}, 105: {"read_burst_configuration", "read"}, 107: {"write_burst_variables", "write"},
	108: {"write_burst_command", "write"}, 109: {"burst_control", "write"},
}

// responseName names a response code: those of a single meaning, and those that
// every command has (HCF_SPEC-307).
func responseName(code uint8) string {
	if code&0x80 != 0 {
		return "communication_error"
	}
	switch code {
	case 0:
		return "ok"
	case 2:
		return "invalid_selection"
	case 3:
		return "parameter_too_large"
	case 4:
		return "parameter_too_small"
	case 5:
		return "too_few_data"
	case 6:
		return "device_specific_error"
	case 7:
		return "write_protected"
	case 16:
		return "access_restricted"
	case 32:
		return "busy"
	case 33:
		return "delayed_response_initiated"
	case 34:
		return "delayed_response_running"
	case 64:
		return "command_not_implemented"
	}
	if warns(code) {
		return "warning"
	}
	return "error"
}

// warns reports whether a code says that the command was done all the same.
func warns(code uint8) bool {
	return code == 8 || code == 14 || code >= 24 && code <= 27 || code == 30 || code == 31 || code >= 96 && code <= 111 || code >= 112 && code <= 127
}

// statusBits say what a device says of itself in each answer, least first.
var statusBits = [8]string{
	"primary_variable_out_of_limits", "non_primary_variable_out_of_limits", "loop_current_saturated", "loop_current_fixed",
	"more_status_available", "cold_start", "configuration_changed", "device_malfunction",
}
