package iec104

// typeID describes a type identification (IEC 60870-5-101, 7.2.1, of which
// IEC 60870-5-104, section 6, takes 67, and IEC 62351-5 adds its own).
type typeID struct {
	name      string
	operation string // one of ics.operation
	object    string // ics.objects.type
	form      form
	size      uint8 // of one object without its address, and its time
	tag       tag
}

// form is how the bytes of an object are read.
type form uint8

const (
	empty           form = iota // an address only, or no address that means anything
	single                      // SIQ
	double                      // DIQ
	step                        // VTI, QDS
	bitstring                   // BSI, QDS
	normalized                  // NVA, QDS
	scaled                      // SVA, QDS
	float                       // IEEE 754, QDS
	counter                     // BCR
	protection                  // SEP, CP16Time2a
	startEvents                 // SPE, QDP, CP16Time2a
	outputCircuit               // OCI, QDP, CP16Time2a
	packed                      // SCD, QDS
	bareNormalized              // NVA
	singleCommand               // SCO
	doubleCommand               // DCO
	stepCommand                 // RCO
	setNormalized               // NVA, QOS
	setScaled                   // SVA, QOS
	setFloat                    // IEEE 754, QOS
	setBits                     // BSI
	qualifier                   // one byte that says what is meant
	clock                       // CP56Time2a
	testPattern                 // FBP, or a counter of tests
	delay                       // CP16Time2a
	parameterNormal             // NVA, QPM
	parameterScaled             // SVA, QPM
	parameterFloat              // IEEE 754, QPM
	fileReady
	sectionReady
	fileCall
	fileLast
	fileAck
	fileSegment
	directory
	queryLog
	secure // of IEC 62351-5: of any size
)

// tag is a time behind an object's value.
type tag uint8

const (
	untagged tag = 0
	cp24     tag = 3 // minutes and milliseconds of an hour that is not said
	cp56     tag = 7
)

// Types that are named in the code.
const (
	typeEndOfInit     = 70
	typeInterrogation = 100
	typeCounters      = 101
	typeRead          = 102
	typeClock         = 103
	typeReset         = 105
	typeDelay         = 106
	typeFileReady     = 120
	typeDirectory     = 126
)

var types = [256]typeID{
	1:  {"M_SP_NA_1", "report", "single_point", single, 1, untagged},
	2:  {"M_SP_TA_1", "report", "single_point", single, 1, cp24},
	3:  {"M_DP_NA_1", "report", "double_point", double, 1, untagged},
	4:  {"M_DP_TA_1", "report", "double_point", double, 1, cp24},
	5:  {"M_ST_NA_1", "report", "step_position", step, 2, untagged},
	6:  {"M_ST_TA_1", "report", "step_position", step, 2, cp24},
	7:  {"M_BO_NA_1", "report", "bitstring", bitstring, 5, untagged},
	8:  {"M_BO_TA_1", "report", "bitstring", bitstring, 5, cp24},
	9:  {"M_ME_NA_1", "report", "normalized_value", normalized, 3, untagged},
	10: {"M_ME_TA_1", "report", "normalized_value", normalized, 3, cp24},
	11: {"M_ME_NB_1", "report", "scaled_value", scaled, 3, untagged},
	12: {"M_ME_TB_1", "report", "scaled_value", scaled, 3, cp24},
	13: {"M_ME_NC_1", "report", "short_float", float, 5, untagged},
	14: {"M_ME_TC_1", "report", "short_float", float, 5, cp24},
	15: {"M_IT_NA_1", "report", "integrated_total", counter, 5, untagged},
	16: {"M_IT_TA_1", "report", "integrated_total", counter, 5, cp24},
	17: {"M_EP_TA_1", "report", "protection_event", protection, 3, cp24},
	18: {"M_EP_TB_1", "report", "protection_start", startEvents, 4, cp24},
	19: {"M_EP_TC_1", "report", "protection_output", outputCircuit, 4, cp24},
	20: {"M_PS_NA_1", "report", "packed_single_points", packed, 5, untagged},
	21: {"M_ME_ND_1", "report", "normalized_value", bareNormalized, 2, untagged},
	30: {"M_SP_TB_1", "report", "single_point", single, 1, cp56},
	31: {"M_DP_TB_1", "report", "double_point", double, 1, cp56},
	32: {"M_ST_TB_1", "report", "step_position", step, 2, cp56},
	33: {"M_BO_TB_1", "report", "bitstring", bitstring, 5, cp56},
	34: {"M_ME_TD_1", "report", "normalized_value", normalized, 3, cp56},
	35: {"M_ME_TE_1", "report", "scaled_value", scaled, 3, cp56},
	36: {"M_ME_TF_1", "report", "short_float", float, 5, cp56},
	37: {"M_IT_TB_1", "report", "integrated_total", counter, 5, cp56},
	38: {"M_EP_TD_1", "report", "protection_event", protection, 3, cp56},
	39: {"M_EP_TE_1", "report", "protection_start", startEvents, 4, cp56},
	40: {"M_EP_TF_1", "report", "protection_output", outputCircuit, 4, cp56},

	45: {"C_SC_NA_1", "control", "single_command", singleCommand, 1, untagged},
	46: {"C_DC_NA_1", "control", "double_command", doubleCommand, 1, untagged},
	47: {"C_RC_NA_1", "control", "step_command", stepCommand, 1, untagged},
	48: {"C_SE_NA_1", "control", "set_point_normalized", setNormalized, 3, untagged},
	49: {"C_SE_NB_1", "control", "set_point_scaled", setScaled, 3, untagged},
	50: {"C_SE_NC_1", "control", "set_point_float", setFloat, 5, untagged},
	51: {"C_BO_NA_1", "control", "bitstring_command", setBits, 4, untagged},
	58: {"C_SC_TA_1", "control", "single_command", singleCommand, 1, cp56},
	59: {"C_DC_TA_1", "control", "double_command", doubleCommand, 1, cp56},
	60: {"C_RC_TA_1", "control", "step_command", stepCommand, 1, cp56},
	61: {"C_SE_TA_1", "control", "set_point_normalized", setNormalized, 3, cp56},
	62: {"C_SE_TB_1", "control", "set_point_scaled", setScaled, 3, cp56},
	63: {"C_SE_TC_1", "control", "set_point_float", setFloat, 5, cp56},
	64: {"C_BO_TA_1", "control", "bitstring_command", setBits, 4, cp56},

	70: {"M_EI_NA_1", "report", "", qualifier, 1, untagged},

	81: {"S_CH_NA_1", "auth", "", secure, 0, untagged},
	82: {"S_RP_NA_1", "auth", "", secure, 0, untagged},
	83: {"S_AR_NA_1", "auth", "", secure, 0, untagged},
	84: {"S_KR_NA_1", "auth", "", secure, 0, untagged},
	85: {"S_KS_NA_1", "auth", "", secure, 0, untagged},
	86: {"S_KC_NA_1", "auth", "", secure, 0, untagged},
	87: {"S_ER_NA_1", "auth", "", secure, 0, untagged},
	90: {"S_US_NA_1", "auth", "", secure, 0, untagged},
	91: {"S_UQ_NA_1", "auth", "", secure, 0, untagged},
	92: {"S_UR_NA_1", "auth", "", secure, 0, untagged},
	93: {"S_UK_NA_1", "auth", "", secure, 0, untagged},
	94: {"S_UA_NA_1", "auth", "", secure, 0, untagged},
	95: {"S_UC_NA_1", "auth", "", secure, 0, untagged},

	100: {"C_IC_NA_1", "read", "", qualifier, 1, untagged},
	101: {"C_CI_NA_1", "read", "", qualifier, 1, untagged},
	102: {"C_RD_NA_1", "read", "", empty, 0, untagged},
	103: {"C_CS_NA_1", "time", "", clock, 7, untagged},
	104: {"C_TS_NA_1", "diagnose", "", testPattern, 2, untagged},
	105: {"C_RP_NA_1", "control", "", qualifier, 1, untagged},
	106: {"C_CD_NA_1", "time", "", delay, 2, untagged},
	107: {"C_TS_TA_1", "diagnose", "", testPattern, 2, cp56},

	110: {"P_ME_NA_1", "write", "parameter_normalized", parameterNormal, 3, untagged},
	111: {"P_ME_NB_1", "write", "parameter_scaled", parameterScaled, 3, untagged},
	112: {"P_ME_NC_1", "write", "parameter_float", parameterFloat, 5, untagged},
	113: {"P_AC_NA_1", "write", "", qualifier, 1, untagged},

	120: {"F_FR_NA_1", "", "", fileReady, 6, untagged},
	121: {"F_SR_NA_1", "", "", sectionReady, 7, untagged},
	122: {"F_SC_NA_1", "", "", fileCall, 4, untagged},
	123: {"F_LS_NA_1", "", "", fileLast, 5, untagged},
	124: {"F_AF_NA_1", "", "", fileAck, 4, untagged},
	125: {"F_SG_NA_1", "", "", fileSegment, 4, untagged},
	126: {"F_DR_TA_1", "discover", "", directory, 13, untagged},
	127: {"F_SC_NB_1", "read", "", queryLog, 16, untagged},
}

// describe returns what is known of a type. Types that nobody has described
// have names too: those of the companion standard, and private ones.
func describe(id uint8) (t typeID, known bool) {
	t = types[id]
	switch {
	case t.name != "":
		return t, true
	case id >= 128:
		t.name = "private"
	default:
		t.name = "unassigned"
	}
	return t, false
}

// command reports whether objects of the form are selected and executed.
func (f form) command() bool { return f >= singleCommand && f <= setBits }

// selects reports whether a command only selects; b is the object without its
// address.
func (f form) selects(b []byte) bool {
	switch f {
	case singleCommand, doubleCommand, stepCommand:
		return len(b) > 0 && b[0]&0x80 != 0
	case setNormalized, setScaled:
		return len(b) > 2 && b[2]&0x80 != 0
	case setFloat:
		return len(b) > 4 && b[4]&0x80 != 0
	}
	return false
}

// file reports whether the form is of file transfer.
func (f form) file() bool { return f >= fileReady && f <= queryLog }

// Causes of transmission (IEC 60870-5-101, 7.2.3).
const (
	causeRequest       = 5
	causeAct           = 6
	causeActCon        = 7
	causeDeact         = 8
	causeDeactCon      = 9
	causeActTerm       = 10
	causeInterrogated  = 20 // 20 to 36: all, and by group
	causeCounters      = 37 // 37 to 41: all, and by group
	causeCountersLast  = 41
	causeUnknownType   = 44
	causeUnknownObject = 47
	maxCause           = 63
)

var causeNames = [maxCause + 1]string{
	1: "periodic", 2: "background_scan", 3: "spontaneous", 4: "initialized", 5: "request", 6: "activation",
	7: "activation_confirmation", 8: "deactivation", 9: "deactivation_confirmation", 10: "activation_termination",
	11: "return_remote_command", 12: "return_local_command", 13: "file_transfer", 14: "authentication",
	15: "session_key_maintenance", 16: "user_role_maintenance",
	20: "interrogated_by_station", 21: "interrogated_by_group_1", 22: "interrogated_by_group_2", 23: "interrogated_by_group_3",
	24: "interrogated_by_group_4", 25: "interrogated_by_group_5", 26: "interrogated_by_group_6", 27: "interrogated_by_group_7",
	28: "interrogated_by_group_8", 29: "interrogated_by_group_9", 30: "interrogated_by_group_10", 31: "interrogated_by_group_11",
	32: "interrogated_by_group_12", 33: "interrogated_by_group_13", 34: "interrogated_by_group_14", 35: "interrogated_by_group_15",
	36: "interrogated_by_group_16", 37: "counters_requested", 38: "counters_of_group_1_requested", 39: "counters_of_group_2_requested",
	40: "counters_of_group_3_requested", 41: "counters_of_group_4_requested",
	44: "unknown_type_id", 45: "unknown_cause", 46: "unknown_common_address", 47: "unknown_object_address",
}

// causeName names a cause; those of the reserved and private range have none
// of their own.
func causeName(c uint8) string {
	if n := causeNames[c]; n != "" {
		return n
	}
	return "reserved"
}

// qualifierName names the qualifier of a type (IEC 60870-5-101, 7.2.6).
func qualifierName(id, q uint8) string {
	pick := func(names ...string) string {
		if int(q) < len(names) {
			return names[q]
		}
		return ""
	}
	switch id {
	case typeEndOfInit:
		q &= 0x7f
		return pick("local_power_switch_on", "local_manual_reset", "remote_reset")
	case typeInterrogation:
		switch {
		case q == 20:
			return "station"
		case q >= 21 && q <= 36:
			return "group"
		}
		return ""
	case typeCounters:
		q &= 0x3f
		return pick("", "group_1", "group_2", "group_3", "group_4", "general")
	case typeReset:
		return pick("", "process", "event_buffer")
	case 113:
		return pick("", "all_parameters", "one_parameter", "cyclic_transmission")
	}
	return ""
}

// freezeNames are what a counter interrogation does to the counters (7.2.6.23).
var freezeNames = [4]string{"read", "freeze", "freeze_and_reset", "reset"}

// commandQualifiers are how long an output of a command lasts (7.2.6.26).
var commandQualifiers = [4]string{"unspecified", "short_pulse", "long_pulse", "persistent"}

// File qualifiers (7.2.6.30 to 7.2.6.33).
var (
	callNames = [...]string{"", "select_file", "request_file", "deactivate_file", "delete_file", "select_section", "request_section", "deactivate_section"}
	lastNames = [...]string{"", "file_transfer", "file_transfer_deactivated", "section_transfer", "section_transfer_deactivated"}
	ackNames  = [...]string{"", "positive_file", "negative_file", "positive_section", "negative_section"}
)

const callDelete = 4

func nameOf(names []string, n uint8) string {
	if int(n) < len(names) {
		return names[n]
	}
	return ""
}
