package s7comm

// Functions of jobs.
const (
	cpuServices     = 0x00
	readVar         = 0x04
	writeVar        = 0x05
	requestDownload = 0x1a
	downloadBlock   = 0x1b
	downloadEnded   = 0x1c
	startUpload     = 0x1d
	upload          = 0x1e
	endUpload       = 0x1f
	invoke          = 0x28
	plcStop         = 0x29
	setup           = 0xf0
)

// meaning is a function's name and what kind of act it is.
type meaning struct{ name, operation string }

var jobs = map[uint8]meaning{
	cpuServices:     {"cpu_services", "diagnose"},
	readVar:         {"read_variable", "read"},
	writeVar:        {"write_variable", "write"},
	requestDownload: {"request_download", "program"},
	downloadBlock:   {"download_block", "program"},
	downloadEnded:   {"download_ended", "program"},
	startUpload:     {"start_upload", "upload"},
	upload:          {"upload", "upload"},
	endUpload:       {"end_upload", "upload"},
	invoke:          {"pi_service", "control"},
	plcStop:         {"plc_stop", "mode"},
	setup:           {"setup_communication", "session"},
}

// services are the program invocation services.
var services = map[string]meaning{
	"P_PROGRAM": {"plc_start", "mode"},
	"_INSE":     {"insert_block", "program"},
	"_INS2":     {"insert_block", "program"},
	"_DELE":     {"delete_block", "program"},
	"_GARB":     {"compress_memory", "program"},
	"_MODU":     {"copy_ram_to_rom", "program"},
	"_OVER":     {"drive_start", "control"},
	"_TEXTL":    {"text_list", "control"},
	"_N_LOGIN_": {"login", "auth"},
	"_N_LOGOUT": {"logout", "auth"},
	"_N_DELECE": {"delete_file", "program"},
	"_N_F_DELE": {"delete_file", "program"},
}

// Groups of user data.
const (
	groupMode     = 0
	groupProgram  = 1
	groupCyclic   = 2
	groupBlock    = 3
	groupCPU      = 4
	groupSecurity = 5
	groupPBC      = 6
	groupTime     = 7
)

var groupNames = map[uint8]string{
	groupMode: "mode", groupProgram: "programmer", groupCyclic: "cyclic", groupBlock: "block", groupCPU: "cpu",
	groupSecurity: "security", groupPBC: "pbc", groupTime: "time", 0xf: "nc",
}

// Functions of user data that are looked into.
const (
	listBlocks      = 1
	listBlocksOf    = 2
	blockInfo       = 3
	readSZL         = 1
	setPassword     = 1
	clearPassword   = 2
	readClock       = 1
	setClock        = 2
	readClockFollow = 3
	setClockFollow  = 4
)

var userFunctions = map[[2]uint8]meaning{
	{groupMode, 0}:                 {"mode_stop", "report"},
	{groupMode, 1}:                 {"mode_warm_restart", "report"},
	{groupMode, 2}:                 {"mode_run", "report"},
	{groupMode, 3}:                 {"mode_hot_restart", "report"},
	{groupMode, 4}:                 {"mode_hold", "report"},
	{groupMode, 6}:                 {"mode_cold_restart", "report"},
	{groupMode, 9}:                 {"mode_run_redundant", "report"},
	{groupMode, 11}:                {"mode_link_up", "report"},
	{groupMode, 12}:                {"mode_update", "report"},
	{groupProgram, 1}:              {"block_status", "diagnose"},
	{groupProgram, 2}:              {"variable_status", "read"},
	{groupProgram, 3}:              {"output_istack", "diagnose"},
	{groupProgram, 4}:              {"output_bstack", "diagnose"},
	{groupProgram, 5}:              {"output_lstack", "diagnose"},
	{groupProgram, 6}:              {"time_measurement", "diagnose"},
	{groupProgram, 7}:              {"force_selection", "control"},
	{groupProgram, 8}:              {"modify_variable", "write"},
	{groupProgram, 9}:              {"force", "control"},
	{groupProgram, 0x0a}:           {"breakpoint", "control"},
	{groupProgram, 0x0b}:           {"exit_hold", "mode"},
	{groupProgram, 0x0c}:           {"memory_reset", "program"},
	{groupProgram, 0x0d}:           {"disable_job", "control"},
	{groupProgram, 0x0e}:           {"enable_job", "control"},
	{groupProgram, 0x0f}:           {"delete_job", "control"},
	{groupProgram, 0x10}:           {"read_job_list", "diagnose"},
	{groupProgram, 0x11}:           {"read_job", "diagnose"},
	{groupProgram, 0x12}:           {"replace_job", "control"},
	{groupProgram, 0x13}:           {"block_status_2", "diagnose"},
	{groupProgram, 0x16}:           {"flash_led", "discover"},
	{groupCyclic, 1}:               {"cyclic_transfer", "read"},
	{groupCyclic, 4}:               {"cyclic_unsubscribe", "read"},
	{groupCyclic, 5}:               {"cyclic_change_driven", "read"},
	{groupCyclic, 7}:               {"cyclic_modify", "read"},
	{groupCyclic, 8}:               {"cyclic_rdrec", "read"},
	{groupBlock, listBlocks}:       {"list_blocks", "discover"},
	{groupBlock, listBlocksOf}:     {"list_blocks_of_type", "discover"},
	{groupBlock, blockInfo}:        {"get_block_info", "discover"},
	{groupCPU, readSZL}:            {"read_szl", "diagnose"},
	{groupCPU, 2}:                  {"message_service", "session"},
	{groupCPU, 3}:                  {"diagnostic_message", "report"},
	{groupCPU, 5}:                  {"alarm_8", "report"},
	{groupCPU, 6}:                  {"notify", "report"},
	{groupCPU, 7}:                  {"alarm_lock", "control"},
	{groupCPU, 8}:                  {"alarm_unlock", "control"},
	{groupCPU, 9}:                  {"scan", "report"},
	{groupCPU, 0x0b}:               {"alarm_acknowledge", "control"},
	{groupCPU, 0x0c}:               {"alarm_acknowledged", "report"},
	{groupCPU, 0x0d}:               {"alarm_locked", "report"},
	{groupCPU, 0x0e}:               {"alarm_unlocked", "report"},
	{groupCPU, 0x11}:               {"alarm_sq", "report"},
	{groupCPU, 0x12}:               {"alarm_s", "report"},
	{groupCPU, 0x13}:               {"alarm_query", "read"},
	{groupCPU, 0x16}:               {"notify_8", "report"},
	{groupSecurity, setPassword}:   {"set_password", "auth"},
	{groupSecurity, clearPassword}: {"clear_password", "auth"},
	{groupPBC, 1}:                  {"pbc_bsend", "report"},
	{groupPBC, 2}:                  {"pbc_brecv", "report"},
	{groupTime, readClock}:         {"read_clock", "read"},
	{groupTime, setClock}:          {"set_clock", "time"},
	{groupTime, readClockFollow}:   {"read_clock_following", "read"},
	{groupTime, setClockFollow}:    {"set_clock_following", "time"},
}

// identifies reports whether a system status list says who the device is.
func identifies(szl uint16) bool {
	switch szl & 0xff {
	case 0x11, 0x12, 0x13, 0x1c, 0x31, 0x37, 0x00:
		return true
	}
	return false
}

// meaning gives the name and the operation of a message, and whether it is of a
// function that is known.
func (m *message) meaning() (x meaning, known bool) {
	if m.kind != userData {
		if m.kind == ack {
			return meaning{"acknowledgement", ""}, true
		}
		x, known = jobs[m.function()]
		switch m.function() {
		case invoke:
			if s, ok := services[string(m.service())]; ok {
				x = s
			}
		}
		if !known {
			x.name = "unknown"
		}
		return x, known
	}
	group := m.function() & 0xf
	x, known = userFunctions[[2]uint8{group, m.subfunction()}]
	if !known {
		x = meaning{"user_data", ""}
		switch group {
		case groupProgram, groupCPU:
			x.operation = "diagnose"
		case groupCyclic:
			x.operation = "read"
		}
		return x, groupNames[group] != ""
	}
	if group == groupCPU && m.subfunction() == readSZL && len(m.data) >= 6 && identifies(u16(m.data[4:])) {
		x.operation = "discover"
	}
	if m.userType() == pushed && group != groupMode && x.operation != "read" {
		x.operation = "report"
	}
	return x, true
}

// statusNames are those of the codes with which controllers refuse; others are
// named by their class.
var statusNames = map[uint16]string{
	0x0110: "invalid_block_number", 0x0111: "invalid_request_length", 0x0112: "invalid_parameter", 0x0113: "invalid_block_type",
	0x0114: "block_not_found", 0x0115: "block_already_exists", 0x0116: "block_write_protected", 0x0118: "invalid_block_type",
	0x8104: "function_not_available", 0x8304: "no_resources", 0x8500: "wrong_pdu_size", 0x8702: "invalid_address",
	0xd002: "access_not_permitted", 0xd003: "no_information", 0xd031: "download_aborted",
	0xd201: "invalid_block_name", 0xd202: "syntax_error_function_parameter", 0xd205: "block_already_exists", 0xd206: "block_already_linked",
	0xd207: "block_write_protected", 0xd208: "block_too_long", 0xd209: "block_not_found", 0xd20e: "no_room", 0xd210: "invalid_block_number",
	0xd240: "coordination_rules_violated", 0xd241: "not_permitted_at_protection_level", 0xd242: "protection_violation",
	0xd401: "szl_not_available", 0xd402: "szl_index_not_available", 0xd403: "service_not_enabled", 0xd404: "invalid_index",
	0xd602: "wrong_password", 0xd604: "connection_has_no_password", 0xd605: "password_not_enabled",
	0xdc01: "invalid_date",
}

var statusClasses = map[uint16]string{
	0x81: "application_error", 0x82: "object_error", 0x83: "no_resources", 0x84: "service_error", 0x85: "supplies_error", 0x87: "access_error",
}

func statusName(code uint16) string {
	if s := statusNames[code]; s != "" {
		return s
	}
	if s := statusClasses[code>>8]; s != "" {
		return s
	}
	return "error"
}

// returnNames are those of the return codes of single items.
var returnNames = map[uint8]string{
	0x00: "reserved", 0x01: "hardware_error", 0x03: "access_denied", 0x05: "invalid_address", 0x06: "type_not_supported",
	0x07: "type_inconsistent", 0x0a: "object_does_not_exist",
}

// itemDone is the return code of success.
const itemDone = 0xff

func returnName(code uint8) string {
	if s := returnNames[code]; s != "" {
		return s
	}
	return "error"
}
