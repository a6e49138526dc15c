package modbus

import (
	"encoding/binary"
	"math/bits"

	"github.com/tocsin/tocsin/event"
)

// function is what the specification says of a function code.
type function struct {
	name      string
	operation string // one of ics.operation
	objects   objectType
}

// objectType is a table of the Modbus data model.
type objectType uint8

const (
	noObjects objectType = iota
	coil
	discreteInput
	inputRegister
	holdingRegister
	fifo // a queue of registers
)

func (t objectType) String() string {
	return [...]string{"", "coil", "discrete_input", "input_register", "holding_register", "fifo"}[t]
}

// binary reports whether objects of the type are single bits.
func (t objectType) binary() bool { return t == coil || t == discreteInput }

// Function codes (section 6 of the specification).
const (
	readCoils              = 1
	readDiscreteInputs     = 2
	readHoldingRegisters   = 3
	readInputRegisters     = 4
	writeSingleCoil        = 5
	writeSingleRegister    = 6
	readExceptionStatus    = 7
	diagnostics            = 8
	getCommEventCounter    = 11
	getCommEventLog        = 12
	writeMultipleCoils     = 15
	writeMultipleRegisters = 16
	reportServerID         = 17
	readFileRecord         = 20
	writeFileRecord        = 21
	maskWriteRegister      = 22
	readWriteRegisters     = 23
	readFIFOQueue          = 24
	encapsulatedInterface  = 43
	umas                   = 90 // Schneider Electric's own
)

var functions = [128]function{
	readCoils:              {"read_coils", "read", coil},
	readDiscreteInputs:     {"read_discrete_inputs", "read", discreteInput},
	readHoldingRegisters:   {"read_holding_registers", "read", holdingRegister},
	readInputRegisters:     {"read_input_registers", "read", inputRegister},
	writeSingleCoil:        {"write_single_coil", "write", coil},
	writeSingleRegister:    {"write_single_register", "write", holdingRegister},
	readExceptionStatus:    {"read_exception_status", "diagnose", noObjects},
	diagnostics:            {"diagnostics", "diagnose", noObjects},
	getCommEventCounter:    {"get_comm_event_counter", "diagnose", noObjects},
	getCommEventLog:        {"get_comm_event_log", "diagnose", noObjects},
	writeMultipleCoils:     {"write_multiple_coils", "write", coil},
	writeMultipleRegisters: {"write_multiple_registers", "write", holdingRegister},
	reportServerID:         {"report_server_id", "discover", noObjects},
	readFileRecord:         {"read_file_record", "read", noObjects},
	writeFileRecord:        {"write_file_record", "write", noObjects},
	maskWriteRegister:      {"mask_write_register", "write", holdingRegister},
	readWriteRegisters:     {"read_write_multiple_registers", "write", holdingRegister},
	readFIFOQueue:          {"read_fifo_queue", "read", fifo},
	encapsulatedInterface:  {"encapsulated_interface_transport", "diagnose", noObjects},
}

// Sub-functions of diagnostics that do more than look (section 6.8).
const (
	restartCommunications = 1
	forceListenOnly       = 4
)

// Types of encapsulated interface (section 6.19).
const (
	meiCANopen  = 13
	meiDeviceID = 14
)

// unassigned is the name of functions that nobody has described.
const unassigned = "unassigned"

// meaning gives the name and the operation of a request, or of a response
// that has lost its request.
func meaning(pdu []byte) (name, operation string) {
	code := pdu[0] & 0x7f
	f := functions[code]
	switch {
	case code == diagnostics && len(pdu) >= 3:
		switch binary.BigEndian.Uint16(pdu[1:]) {
		case restartCommunications:
			return f.name, "control"
		case forceListenOnly:
			return f.name, "mode"
		}
	case code == encapsulatedInterface && len(pdu) >= 2:
		switch pdu[1] {
		case meiDeviceID:
			return "read_device_identification", "discover"
		case meiCANopen:
			return "canopen_general_reference", "write" // may be a write, so is taken as one
		}
	case code == umas:
		return "umas", ""
	case f.name == "" && (code >= 65 && code <= 72 || code >= 100 && code <= 110):
		return "user_defined", ""
	case f.name == "":
		return unassigned, ""
	}
	return f.name, f.operation
}

var diagnosticNames = [...]string{
	0: "return_query_data", 1: "restart_communications", 2: "return_diagnostic_register", 3: "change_ascii_input_delimiter",
	4: "force_listen_only_mode", 10: "clear_counters", 11: "return_bus_message_count", 12: "return_bus_communication_error_count",
	13: "return_bus_exception_error_count", 14: "return_server_message_count", 15: "return_server_no_response_count",
	16: "return_server_nak_count", 17: "return_server_busy_count", 18: "return_bus_character_overrun_count", 20: "clear_overrun_counter",
}

// subfunction returns the second number that a function has, if it has one.
func subfunction(pdu []byte) (code uint64, name string, ok bool) {
	switch {
	case pdu[0] == diagnostics && len(pdu) >= 3:
		code = uint64(binary.BigEndian.Uint16(pdu[1:]))
		if code < uint64(len(diagnosticNames)) {
			name = diagnosticNames[code]
		}
		return code, name, true
	case pdu[0] == encapsulatedInterface && len(pdu) >= 2:
		switch pdu[1] {
		case meiDeviceID:
			name = "read_device_identification"
		case meiCANopen:
			name = "canopen_general_reference"
		}
		return uint64(pdu[1]), name, true
	}
	return 0, "", false
}

// silent reports whether a device that obeys a request says nothing.
func silent(pdu []byte) bool {
	code, _, ok := subfunction(pdu)
	return ok && pdu[0] == diagnostics && code == forceListenOnly
}

// Exception codes (section 7).
var exceptionNames = [...]string{
	1: "illegal_function", 2: "illegal_data_address", 3: "illegal_data_value", 4: "server_device_failure", 5: "acknowledge",
	6: "server_device_busy", 7: "negative_acknowledge", 8: "memory_parity_error", 10: "gateway_path_unavailable",
	11: "gateway_target_failed_to_respond",
}

func exceptionName(code uint8) string {
	if int(code) < len(exceptionNames) && exceptionNames[code] != "" {
		return exceptionNames[code]
	}
	return "unknown"
}

// Device identification objects (section 6.21).
var deviceIDNames = [...]string{"vendor", "product_code", "revision", "vendor_url", "product_name", "model_name", "user_application_name"}

// shape reports whether a PDU's length is what its function asks of a request,
// and of a response. Functions that the specification does not describe may
// have any.
func shape(pdu []byte) (request, response bool) {
	size := len(pdu)
	counted := func(at int) bool { return size > at && size == at+1+int(pdu[at]) }
	switch code := pdu[0]; {
	case code >= 0x80:
		return false, size == 2 || size == 3 // some devices send a byte more
	case functions[code].name == "":
		return true, true
	case code <= readInputRegisters:
		return size == 5, counted(1) && pdu[1] > 0 && (code <= readDiscreteInputs || pdu[1]%2 == 0)
	default:
		switch code {
		case writeSingleCoil, writeSingleRegister:
			return size == 5, size == 5
		case readExceptionStatus:
			return size == 1, size == 2
		case diagnostics:
			return size >= 3 && size%2 == 1, size >= 3 && size%2 == 1
		case getCommEventCounter:
			return size == 1, size == 5
		case getCommEventLog, reportServerID:
			return size == 1, counted(1)
		case writeMultipleCoils:
			return counted(5) && int(pdu[5]) == (int(binary.BigEndian.Uint16(pdu[3:]))+7)/8, size == 5
		case writeMultipleRegisters:
			return counted(5) && int(pdu[5]) == 2*int(binary.BigEndian.Uint16(pdu[3:])), size == 5
		case readFileRecord, writeFileRecord:
			return counted(1), counted(1)
		case maskWriteRegister:
			return size == 7, size == 7
		case readWriteRegisters:
			return counted(9) && int(pdu[9]) == 2*int(binary.BigEndian.Uint16(pdu[7:])), counted(1) && pdu[1]%2 == 0
		case readFIFOQueue:
			return size == 3, size >= 5 && size == 3+int(binary.BigEndian.Uint16(pdu[1:]))
		}
		// Encapsulated interface.
		if size >= 2 && pdu[1] == meiDeviceID {
			return size == 4 || size == 5, size >= 7 // some clients send a byte more
		}
		return size >= 2, size >= 2
	}
}

// quantity of objects that the specification allows at once, by function.
func maxQuantity(code uint8) uint16 {
	switch code {
	case readCoils, readDiscreteInputs:
		return 2000
	case writeMultipleCoils:
		return 1968
	case writeMultipleRegisters:
		return 123
	}
	return 125
}

// oddities is a set of what is odd about a transaction.
type oddities uint16

const (
	lengthMismatch      oddities = 1 << iota // content and length do not fit
	unsolicitedResponse                      // nobody asked
	noResponse                               // nobody answered
	unknownFunction                          // neither the specification nor a vendor describes it
	functionMismatch                         // the response is of another function
	unitMismatch                             // the response is of another unit
	echoMismatch                             // a write's response is not its echo
	invalidValue                             // a coil is to be neither on nor off
	invalidQuantity                          // none, or more than the specification allows
	skippedBytes                             // nonsense came before it
	captureLoss                              // the other half may have been lost by the capture
	reversedRoles                            // the flow's responder is the one who asks
)

var oddityNames = [...]string{
	"length_mismatch", "unsolicited_response", "no_response", "unknown_function", "function_mismatch", "unit_mismatch",
	"echo_mismatch", "invalid_value", "invalid_quantity", "skipped_bytes", "capture_loss", "reversed_roles",
}

func (o oddities) value() event.Value {
	vs := make([]event.Value, 0, bits.OnesCount16(uint16(o)))
	for i, name := range oddityNames {
		if o&(1<<i) != 0 {
			vs = append(vs, event.Str(name))
		}
	}
	return event.List(vs...)
}
