package dnp3

// function is what IEEE 1815, 4.4 says of a function code.
type function struct {
	name      string
	operation string // one of ics.operation
}

// Function codes.
const (
	confirm           = 0
	read              = 1
	write             = 2
	selectOutputs     = 3
	operate           = 4
	directOperate     = 5
	directOperateNR   = 6
	freezeNR          = 8
	freezeClearNR     = 10
	freezeAtTime      = 11
	freezeAtTimeNR    = 12
	openFile          = 25
	authRequestNR     = 33
	response          = 129
	unsolicited       = 130
	authResponse      = 131
	firstResponse     = response
	lastRequest       = authRequestNR
	groupCommand      = 12
	patternBlock      = 2 // variation of groupCommand
	groupSetPoint     = 41
	groupIIN          = 80
	groupTime         = 50
	groupFile         = 70
	groupAuth         = 120
	groupAttributes   = 0
	broadcastConfirm  = 0xfffe // the three addresses of all stations
	broadcastOptional = 0xffff
	broadcastSilent   = 0xfffd
)

var functions = [256]function{
	confirm:         {"confirm", "session"},
	read:            {"read", "read"},
	write:           {"write", "write"},
	selectOutputs:   {"select", "control"},
	operate:         {"operate", "control"},
	directOperate:   {"direct_operate", "control"},
	directOperateNR: {"direct_operate_no_response", "control"},
	7:               {"immediate_freeze", "control"},
	freezeNR:        {"immediate_freeze_no_response", "control"},
	9:               {"freeze_and_clear", "control"},
	freezeClearNR:   {"freeze_and_clear_no_response", "control"},
	freezeAtTime:    {"freeze_at_time", "control"},
	freezeAtTimeNR:  {"freeze_at_time_no_response", "control"},
	13:              {"cold_restart", "control"},
	14:              {"warm_restart", "control"},
	15:              {"initialize_data", "control"},
	16:              {"initialize_application", "mode"},
	17:              {"start_application", "mode"},
	18:              {"stop_application", "mode"},
	19:              {"save_configuration", "write"},
	20:              {"enable_unsolicited", "session"},
	21:              {"disable_unsolicited", "session"},
	22:              {"assign_class", "write"},
	23:              {"delay_measurement", "diagnose"},
	24:              {"record_current_time", "time"},
	openFile:        {"open_file", "write"},
	26:              {"close_file", "session"},
	27:              {"delete_file", "write"},
	28:              {"get_file_information", "discover"},
	29:              {"authenticate_file", "auth"},
	30:              {"abort_file", "session"},
	31:              {"activate_configuration", "program"},
	32:              {"authentication_request", "auth"},
	authRequestNR:   {"authentication_request_no_acknowledgement", "auth"},
	response:        {"response", "report"},
	unsolicited:     {"unsolicited_response", "report"},
	authResponse:    {"authentication_response", "auth"},
}

// silent reports whether nobody answers a request.
func silent(code uint8, dst uint16) bool {
	switch code {
	case directOperateNR, freezeNR, freezeClearNR, freezeAtTimeNR, authRequestNR:
		return true
	}
	return dst >= broadcastSilent
}

// responds reports whether a function is of an outstation.
func responds(code uint8) bool { return code >= firstResponse }

// carries reports whether the objects of a message have contents, not only
// headers that name them.
func carries(code, group uint8) bool {
	switch code {
	case write, selectOutputs, operate, directOperate, directOperateNR:
		return true
	case freezeAtTime, freezeAtTimeNR:
		return group == groupTime
	}
	return responds(code) || code >= openFile && code <= lastRequest
}

// operation says what kind of act a request is; h is its first object header.
func operation(code uint8, h header, some bool) string {
	f := functions[code]
	if !some {
		return f.operation
	}
	switch {
	case code == write && h.group == groupTime && h.variation != 4:
		return "time"
	case code == read && h.group == groupAttributes:
		return "discover"
	case code == read && h.group == groupFile:
		return "upload"
	case code == openFile && h.group == groupFile && len(h.data) > 0:
		// The mode is 20 bytes behind the size (A.35.3).
		if d := h.sizedData(); len(d) >= 22 && d[20] == fileRead {
			return "upload"
		}
	}
	return f.operation
}

// indications are the bits of IIN1 and IIN2, least first (4.5).
var indications = [16]string{
	"broadcast", "class_1_events", "class_2_events", "class_3_events", "need_time", "local_control", "device_trouble", "device_restart",
	"function_not_supported", "object_unknown", "parameter_error", "event_buffer_overflow", "already_executing", "configuration_corrupt", "reserved_1", "reserved_2",
}

// failures are the bits of IIN2 that refuse a request.
const failures = 0x17

// controlStatuses are the results of a control (A.12.1, table 12).
var controlStatuses = [...]string{
	"success", "timeout", "no_select", "format_error", "not_supported", "already_active", "hardware_error", "local", "too_many_objects",
	"not_authorized", "automation_inhibit", "processing_limited", "out_of_range", "downstream_local", "already_complete", "blocked", "canceled",
	"blocked_other_master", "downstream_fail",
}

const statusNonParticipating = 126

func controlStatus(code uint8) string {
	switch {
	case int(code) < len(controlStatuses):
		return controlStatuses[code]
	case code == statusNonParticipating:
		return "non_participating"
	}
	return "undefined"
}

// operationTypes are those of a control relay output block (A.12.1).
var operationTypes = [16]string{"nul", "pulse_on", "pulse_off", "latch_on", "latch_off"}

var tripClose = [4]string{"", "close", "trip", "reserved"}

// File modes and statuses (A.35.3, A.35.4).
const fileRead = 1

var fileModes = [...]string{"null", "read", "write", "append"}

var fileStatuses = [...]string{
	"success", "permission_denied", "invalid_mode", "file_not_found", "file_locked", "too_many_open", "invalid_handle", "write_block_size",
	"communications_lost", "cannot_abort",
}

var fileStatusesMore = [...]string{"not_opened", "handle_expired", "buffer_overrun", "fatal", "block_sequence"}

func fileStatus(code uint8) string {
	switch {
	case int(code) < len(fileStatuses):
		return fileStatuses[code]
	case code >= 16 && int(code)-16 < len(fileStatusesMore):
		return fileStatusesMore[code-16]
	}
	return "undefined"
}

// authTypes are the variations of group 120 (A.45).
var authTypes = [...]string{
	1: "challenge", 2: "reply", 3: "aggressive_mode", 4: "session_key_status_request", 5: "session_key_status", 6: "session_key_change",
	7: "error", 8: "user_certificate", 9: "message_authentication_code", 10: "user_status_change", 11: "update_key_change_request",
	12: "update_key_change_reply", 13: "update_key_change", 14: "update_key_change_signature", 15: "update_key_change_confirmation",
}

// attributes are names of device attributes, the variations of group 0 (A.1).
var attributes = map[uint8]string{
	240: "max_transmit_fragment", 241: "max_receive_fragment", 242: "software_version", 243: "hardware_version", 244: "owner",
	245: "location", 246: "id", 247: "device_name", 248: "serial_number", 249: "subset", 250: "product_name", 252: "manufacturer",
}
