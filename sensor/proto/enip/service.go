package enip

// Classes of objects that are looked into (volume 1, chapter 5; Rockwell's from
// 0x64 on).
const (
	classIdentity  = 0x01
	classRouter    = 0x02
	classManager   = 0x06
	classFile      = 0x37
	classPCCC      = 0x67
	classProgram   = 0x68
	classSymbol    = 0x6b
	classTemplate  = 0x6c
	classWallClock = 0x8b
	classStorage   = 0xa1
)

var classNames = map[uint32]string{
	classIdentity: "identity", classRouter: "message_router", 0x03: "devicenet", 0x04: "assembly", 0x05: "connection", classManager: "connection_manager",
	0x07: "register", 0x08: "discrete_input_point", 0x09: "discrete_output_point", 0x0a: "analog_input_point", 0x0b: "analog_output_point",
	0x0e: "presence_sensing", 0x0f: "parameter", 0x10: "parameter_group", 0x12: "group", 0x1d: "discrete_input_group", 0x1e: "discrete_output_group",
	0x23: "position_sensor", 0x28: "motor_data", 0x29: "control_supervisor", 0x2a: "ac_dc_drive", 0x2b: "acknowledge_handler", 0x2c: "overload",
	0x30: "s_device_supervisor", classFile: "file", 0x39: "safety_supervisor", 0x43: "time_sync", 0x44: "modbus", 0x47: "device_level_ring", 0x48: "qos",
	0x64: "controller", classPCCC: "pccc", classProgram: "program", 0x69: "map", 0x6a: "cst", classSymbol: "symbol", classTemplate: "template",
	0x6d: "routine", 0x70: "task", 0x72: "trend", 0x73: "io_map", 0x77: "cst", classWallClock: "wall_clock", 0x8c: "change_log", 0x8e: "mode",
	classStorage: "nonvolatile_storage", 0xac: "controller_identity", 0xb0: "data_log", 0xf4: "port", 0xf5: "tcp_ip_interface", 0xf6: "ethernet_link",
}

// Services (volume 1, appendix A; 1756-PM020).
const (
	getAll          = 0x01
	setAll          = 0x02
	getList         = 0x03
	setList         = 0x04
	reset           = 0x05
	multiple        = 0x0a
	getSingle       = 0x0e
	setSingle       = 0x10
	executePCCC     = 0x4b
	readTag         = 0x4c
	writeTag        = 0x4d
	modifyTag       = 0x4e
	forwardClose    = 0x4e
	readFragment    = 0x52
	unconnectedSend = 0x52
	writeFragment   = 0x53
	forwardOpen     = 0x54
	listTags        = 0x55
	largeOpen       = 0x5b
)

type meaning struct{ name, operation string }

// services are those that any object may have.
var services = map[uint8]meaning{
	getAll: {"get_attributes_all", "read"}, setAll: {"set_attributes_all", "write"}, getList: {"get_attribute_list", "read"},
	setList: {"set_attribute_list", "write"}, reset: {"reset", "control"}, 0x06: {"start", "mode"}, 0x07: {"stop", "mode"},
	0x08: {"create", "control"}, 0x09: {"delete", "control"}, multiple: {"multiple_service_packet", ""}, 0x0d: {"apply_attributes", "control"},
	getSingle: {"get_attribute_single", "read"}, setSingle: {"set_attribute_single", "write"}, 0x11: {"find_next_object_instance", "discover"},
	0x14: {"error_response", ""}, 0x15: {"restore", "program"}, 0x16: {"save", "program"}, 0x17: {"no_operation", "session"},
	0x18: {"get_member", "read"}, 0x19: {"set_member", "write"}, 0x1a: {"insert_member", "write"}, 0x1b: {"remove_member", "write"},
	0x1c: {"group_sync", "time"},
}

// ofClass are those of one class.
var ofClass = map[uint32]map[uint8]meaning{
	classManager: {
		forwardClose: {"forward_close", "session"}, unconnectedSend: {"unconnected_send", ""}, forwardOpen: {"forward_open", "session"},
		0x56: {"get_connection_data", "diagnose"}, 0x57: {"search_connection_data", "diagnose"}, 0x5a: {"get_connection_owner", "diagnose"},
		largeOpen: {"large_forward_open", "session"},
	},
	classFile: {
		0x4b: {"initiate_upload", "upload"}, 0x4c: {"initiate_download", "firmware"}, 0x4d: {"initiate_partial_read", "upload"},
		0x4e: {"initiate_partial_write", "firmware"}, 0x4f: {"upload_transfer", "upload"}, 0x50: {"download_transfer", "firmware"},
		0x51: {"clear_file", "firmware"},
	},
	classPCCC:     {executePCCC: {"execute_pccc", ""}},
	classStorage:  {0x4b: {"update_firmware", "firmware"}, 0x4d: {"transfer_firmware", "firmware"}},
	classTemplate: {readTag: {"read_template", "discover"}},
	classSymbol:   {listTags: {"get_instance_attribute_list", "discover"}},
}

// tags are those of Rockwell's controllers on tags.
var tags = map[uint8]meaning{
	readTag: {"read_tag", "read"}, writeTag: {"write_tag", "write"}, modifyTag: {"read_modify_write_tag", "write"},
	readFragment: {"read_tag_fragmented", "read"}, writeFragment: {"write_tag_fragmented", "write"}, listTags: {"get_instance_attribute_list", "discover"},
}

// meaning gives name and operation of a request, and whether it is known.
func (m *request) meaning() (x meaning, known bool) {
	if x, known = ofClass[m.class][m.service]; known {
		return x, true
	}
	if x, known = services[m.service]; known {
		switch {
		case m.class == classIdentity && (m.service == getAll || m.service == getList || m.service == getSingle):
			x.operation = "discover"
		case m.class >= 0x68 && m.class <= 0x70 && (m.service == 0x08 || m.service == 0x09):
			x.operation = "program" // routines, tasks and tags are what a program is of
		case m.class == classWallClock && x.operation == "write":
			x.operation = "time"
		}
		return x, true
	}
	if m.class == 0 || m.class == classSymbol {
		if x, known = tags[m.service]; known {
			return x, true
		}
	}
	return meaning{"service", ""}, m.service >= 0x4b // an object's own, or a vendor's
}

// statusNames are those of the general status (volume 1, appendix B).
var statusNames = map[uint8]string{
	0x01: "connection_failure", 0x02: "resource_unavailable", 0x03: "invalid_parameter_value", 0x04: "path_segment_error", 0x05: "path_destination_unknown",
	0x06: "partial_transfer", 0x07: "connection_lost", 0x08: "service_not_supported", 0x09: "invalid_attribute_value", 0x0a: "attribute_list_error",
	0x0b: "already_in_requested_mode", 0x0c: "object_state_conflict", 0x0d: "object_already_exists", 0x0e: "attribute_not_settable",
	0x0f: "privilege_violation", 0x10: "device_state_conflict", 0x11: "reply_too_large", 0x12: "fragmentation", 0x13: "not_enough_data",
	0x14: "attribute_not_supported", 0x15: "too_much_data", 0x16: "object_does_not_exist", 0x17: "no_fragmentation", 0x18: "no_stored_data",
	0x19: "store_failure", 0x1a: "request_too_large", 0x1b: "response_too_large", 0x1c: "missing_attribute_list_entry", 0x1d: "invalid_attribute_list",
	0x1e: "embedded_service_error", 0x1f: "vendor_specific_error", 0x20: "invalid_parameter", 0x21: "write_once", 0x22: "invalid_reply",
	0x25: "key_failure_in_path", 0x26: "path_size_invalid", 0x27: "unexpected_attribute", 0x28: "invalid_member", 0x29: "member_not_settable",
	0x2a: "group_2_general_failure", 0xff: "general_error",
}

func statusName(code uint8) string {
	if s := statusNames[code]; s != "" {
		return s
	}
	return "error"
}

// outerName names a status of the encapsulation.
func outerName(status uint32) string {
	if s := encapsulationStatus[status]; s != "" {
		return s
	}
	return "error"
}

// Vendors that are met most, by ODVA's numbers.
var vendors = map[uint16]string{
	1: "Rockwell Automation", 2: "Namco Controls", 5: "Rockwell Automation", 26: "Festo", 40: "WAGO", 44: "Yaskawa", 46: "ABB", 47: "Omron", 50: "Real Time Automation",
	90: "HMS", 145: "Siemens", 161: "Mitsubishi Electric", 243: "Schneider Electric", 283: "Hilscher", 678: "Cognex",
}

// PCCC commands (1770-6.5.16, chapter 7), by command and function.
var pcccNames = map[[2]uint8]meaning{
	{0x0f, 0xa1}: {"protected_typed_logical_read_2", "read"}, {0x0f, 0xa2}: {"protected_typed_logical_read_3", "read"},
	{0x0f, 0xa9}: {"protected_typed_logical_write_2", "write"}, {0x0f, 0xaa}: {"protected_typed_logical_write_3", "write"},
	{0x0f, 0xab}: {"protected_typed_logical_write_mask", "write"}, {0x0f, 0x68}: {"typed_read", "read"}, {0x0f, 0x67}: {"typed_write", "write"},
	{0x0f, 0x01}: {"word_range_read", "read"}, {0x0f, 0x00}: {"word_range_write", "write"}, {0x0f, 0x26}: {"read_modify_write", "write"},
	{0x0f, 0x02}: {"bit_write", "write"}, {0x0f, 0x3a}: {"set_cpu_mode", "mode"}, {0x0f, 0x80}: {"change_mode", "mode"},
	{0x0f, 0x07}: {"disable_forces", "control"}, {0x0f, 0x57}: {"shutdown", "mode"}, {0x0f, 0x11}: {"get_edit_resource", "program"},
	{0x0f, 0x12}: {"return_edit_resource", "program"}, {0x0f, 0x50}: {"download_all_request", "program"}, {0x0f, 0x52}: {"download_completed", "program"},
	{0x0f, 0x53}: {"upload_all_request", "upload"}, {0x0f, 0x55}: {"upload_completed", "upload"}, {0x0f, 0x17}: {"read_bytes_physical", "upload"},
	{0x0f, 0x18}: {"write_bytes_physical", "program"}, {0x0f, 0x41}: {"file_read", "upload"}, {0x0f, 0x42}: {"file_write", "program"},
	{0x06, 0x00}: {"echo", "diagnose"}, {0x06, 0x03}: {"diagnostic_status", "discover"}, {0x06, 0x01}: {"read_diagnostic_counters", "diagnose"},
	{0x06, 0x07}: {"reset_diagnostic_counters", "control"},
}

// fileTypes are the letters of PCCC data files, by their numbers on the wire.
var fileTypes = map[uint8]string{
	0x82: "O", 0x83: "I", 0x84: "S", 0x85: "B", 0x86: "T", 0x87: "C", 0x88: "R", 0x89: "N", 0x8a: "F", 0x8b: "O", 0x8c: "I", 0x8d: "ST", 0x8e: "A", 0x91: "L",
}

// kind is an elementary data type (volume 1, appendix C).
type kind struct {
	name   string
	size   int
	signed bool
	real   bool
}

var kinds = map[uint16]kind{
	0xc1: {"BOOL", 1, false, false}, 0xc2: {"SINT", 1, true, false}, 0xc3: {"INT", 2, true, false}, 0xc4: {"DINT", 4, true, false},
	0xc5: {"LINT", 8, true, false}, 0xc6: {"USINT", 1, false, false}, 0xc7: {"UINT", 2, false, false}, 0xc8: {"UDINT", 4, false, false},
	0xc9: {"ULINT", 8, false, false}, 0xca: {"REAL", 4, false, true}, 0xcb: {"LREAL", 8, false, true}, 0xd1: {"BYTE", 1, false, false},
	0xd2: {"WORD", 2, false, false}, 0xd3: {"DWORD", 4, false, false}, 0xd4: {"LWORD", 8, false, false},
}

// structure is the type of what has members (1756-PM020).
const structure = 0x02a0
