package bacnet

// meaning is a function's name and what kind of act it is.
type meaning struct{ name, operation string }

// Confirmed services (clause 21, BACnetConfirmedServiceChoice) that are looked into.
const (
	covNotification   = 1
	subscribeCOV      = 5
	readFile          = 6
	writeFile         = 7
	createObject      = 10
	deleteObject      = 11
	readProperty      = 12
	readMultiple      = 14
	writeProperty     = 15
	writeMultiple     = 16
	deviceControl     = 17
	reinitialize      = 20
	readRange         = 26
	subscribeProperty = 28
)

var confirmedServices = [...]meaning{
	0: {"acknowledge_alarm", "control"}, covNotification: {"cov_notification", "report"}, 2: {"event_notification", "report"},
	3: {"get_alarm_summary", "diagnose"}, 4: {"get_enrollment_summary", "diagnose"}, subscribeCOV: {"subscribe_cov", "session"},
	readFile: {"atomic_read_file", "upload"}, writeFile: {"atomic_write_file", "program"}, 8: {"add_list_element", "write"},
	9: {"remove_list_element", "write"}, createObject: {"create_object", "program"}, deleteObject: {"delete_object", "program"},
	readProperty: {"read_property", "read"}, 13: {"read_property_conditional", "read"}, readMultiple: {"read_property_multiple", "read"},
	writeProperty: {"write_property", "write"}, writeMultiple: {"write_property_multiple", "write"},
	deviceControl: {"device_communication_control", "control"}, 18: {"confirmed_private_transfer", ""}, 19: {"confirmed_text_message", "report"},
	reinitialize: {"reinitialize_device", "control"}, 21: {"vt_open", "session"}, 22: {"vt_close", "session"}, 23: {"vt_data", "session"},
	24: {"authenticate", "auth"}, 25: {"request_key", "auth"}, readRange: {"read_range", "read"}, 27: {"life_safety_operation", "control"},
	subscribeProperty: {"subscribe_cov_property", "session"}, 29: {"get_event_information", "diagnose"},
	30: {"subscribe_cov_property_multiple", "session"}, 31: {"cov_notification_multiple", "report"},
}

// Unconfirmed services.
const (
	iAm            = 0
	iHave          = 1
	unconfirmedCOV = 2
	timeSync       = 6
	whoHas         = 7
	whoIs          = 8
	utcTimeSync    = 9
)

var unconfirmedServices = [...]meaning{
	iAm: {"i_am", "discover"}, iHave: {"i_have", "discover"}, unconfirmedCOV: {"unconfirmed_cov_notification", "report"},
	3: {"unconfirmed_event_notification", "report"}, 4: {"unconfirmed_private_transfer", ""}, 5: {"unconfirmed_text_message", "report"},
	timeSync: {"time_synchronization", "time"}, whoHas: {"who_has", "discover"}, whoIs: {"who_is", "discover"},
	utcTimeSync: {"utc_time_synchronization", "time"}, 10: {"write_group", "write"}, 11: {"unconfirmed_cov_notification_multiple", "report"},
}

// networkMessages are those of the network layer (6.2.4).
var networkMessages = map[int]meaning{
	0x00: {"who_is_router_to_network", "discover"}, 0x01: {"i_am_router_to_network", "discover"}, 0x02: {"i_could_be_router_to_network", "discover"},
	0x03: {"reject_message_to_network", "session"}, 0x04: {"router_busy_to_network", "session"}, 0x05: {"router_available_to_network", "session"},
	0x06: {"initialize_routing_table", "write"}, 0x07: {"initialize_routing_table_ack", "session"}, 0x08: {"establish_connection_to_network", "control"},
	0x09: {"disconnect_connection_to_network", "control"}, 0x12: {"what_is_network_number", "discover"}, 0x13: {"network_number_is", "discover"},
}

var objectTypes = [...]string{
	"analog_input", "analog_output", "analog_value", "binary_input", "binary_output", "binary_value", "calendar", "command", "device",
	"event_enrollment", "file", "group", "loop", "multi_state_input", "multi_state_output", "notification_class", "program", "schedule",
	"averaging", "multi_state_value", "trend_log", "life_safety_point", "life_safety_zone", "accumulator", "pulse_converter", "event_log",
	"global_group", "trend_log_multiple", "load_control", "structured_view", "access_door", "timer", "access_credential", "access_point",
	"access_rights", "access_user", "access_zone", "credential_data_input", "network_security", "bitstring_value", "characterstring_value",
	"date_pattern_value", "date_value", "datetime_pattern_value", "datetime_value", "integer_value", "large_analog_value", "octetstring_value",
	"positive_integer_value", "time_pattern_value", "time_value", "notification_forwarder", "alert_enrollment", "channel", "lighting_output",
	"binary_lighting_output", "network_port",
}

// properties are those that are met most (clause 21, BACnetPropertyIdentifier).
var properties = map[uint32]string{
	0: "acked_transitions", 4: "active_text", 8: "all", 11: "apdu_timeout", 12: "application_software_version", 22: "cov_increment",
	23: "date_list", 25: "deadband", 28: "description", 30: "device_address_binding", 31: "device_type", 36: "event_state", 41: "file_access_method",
	42: "file_size", 43: "file_type", 44: "firmware_revision", 45: "high_limit", 46: "inactive_text", 52: "limit_enable", 56: "local_date",
	57: "local_time", 58: "location", 59: "low_limit", 62: "max_apdu_length_accepted", 65: "max_pres_value", 69: "min_pres_value", 70: "model_name",
	74: "number_of_states", 75: "object_identifier", 76: "object_list", 77: "object_name", 79: "object_type", 80: "optional", 81: "out_of_service",
	84: "polarity", 85: "present_value", 87: "priority_array", 90: "program_change", 96: "protocol_object_types_supported",
	97: "protocol_services_supported", 98: "protocol_version", 103: "reliability", 104: "relinquish_default", 105: "required",
	107: "segmentation_supported", 108: "setpoint", 110: "state_text", 111: "status_flags", 112: "system_status", 117: "units",
	119: "utc_offset", 120: "vendor_identifier", 121: "vendor_name", 123: "weekly_schedule", 131: "log_buffer", 139: "protocol_revision",
	155: "database_revision", 168: "profile_name", 371: "property_list", 372: "serial_number",
}

// controlStates are those of a device communication control (16.1), restarts
// those of a reinitialization (16.4).
var (
	controlStates = [...]string{"enable", "disable", "disable_initiation"}
	restarts      = [...]string{
		"coldstart", "warmstart", "start_backup", "end_backup", "start_restore", "end_restore", "abort_restore", "activate_changes",
	}
)

// errorCodes are those that are met most (clause 18).
var errorCodes = map[uint64]string{
	0: "other", 2: "configuration_in_progress", 3: "device_busy", 9: "invalid_data_type", 25: "operational_problem", 26: "password_failure",
	27: "read_access_denied", 29: "service_request_denied", 31: "unknown_object", 32: "unknown_property", 35: "unsupported_object_type",
	36: "unsupported_property", 37: "value_out_of_range", 40: "write_access_denied", 42: "invalid_array_index", 45: "optional_functionality_not_supported",
	50: "property_is_not_an_array",
}

var rejectReasons = [...]string{
	"other", "buffer_overflow", "inconsistent_parameters", "invalid_parameter_data_type", "invalid_tag", "missing_required_parameter",
	"parameter_out_of_range", "too_many_arguments", "undefined_enumeration", "unrecognized_service",
}

var abortReasons = [...]string{
	"other", "buffer_overflow", "invalid_apdu_in_this_state", "preempted_by_higher_priority_task", "segmentation_not_supported",
	"security_error", "insufficient_security", "window_size_out_of_range", "application_exceeded_reply_time", "out_of_resources",
}

// shape is by which context tags a service says objects, properties and values
// (clause 15, clause 13); -1 where it says no such thing.
type shape struct {
	object, list                        int // list opens properties of an object
	property, index, value, err, weight int
}

var (
	single       = shape{0, -1, 1, 2, 3, -1, 4}
	readMany     = shape{0, 1, 0, 1, -1, -1, -1}
	answerMany   = shape{0, 1, 2, 3, 4, 5, -1}
	writeMany    = shape{0, 1, 0, 1, 2, -1, 3}
	notification = shape{2, 4, 0, 1, 2, -1, 3}
	subscription = shape{1, -1, -1, -1, -1, -1, -1}
)
