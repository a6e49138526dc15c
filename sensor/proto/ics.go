package proto

import "github.com/tocsin/tocsin/event"

// ICSFields documents the fields that industrial protocols share: one flat
// record per transaction, the request together with its response.
//
// What changes something lists each object by itself, with its old value where
// that is known. What only looks lists objects of one type that follow each
// other as one, a run: address, count, type and a list of values. Polls are most
// of what an industrial network says, and an object for each of their registers
// would be most of what is stored of it.
var ICSFields = []event.FieldDoc{
	Outcome,
	{Name: "ics.protocol", Type: event.Keyword, Help: "Industrial protocol: modbus, dnp3, iec104, …", Class: event.ClassTechnical},
	{Name: "ics.operation", Type: event.Keyword, Help: "What kind of act it is: read, write, control, program, upload, mode, firmware, diagnose, discover, report, time, session, auth.", Class: event.ClassTechnical},
	{Name: "ics.function.code", Type: event.Long, Help: "Number of the function on the wire.", Class: event.ClassTechnical},
	{Name: "ics.function.name", Type: event.Keyword, Help: "Name of the function.", Class: event.ClassTechnical},
	{Name: "ics.unit", Type: event.Long, Help: "Device behind the address: unit, station or slave number.", Class: event.ClassTopology},
	{Name: "ics.objects", Type: event.Nested, Help: "What was read or written.", Class: event.ClassProcess},
	{Name: "ics.objects.address", Type: event.Long, Help: "Number of the object within its type; of a run the first.", Class: event.ClassProcess},
	{Name: "ics.objects.count", Type: event.Long, Help: "Objects in a run: how many of a type that follow each other were read; absent of a single one.", Class: event.ClassProcess},
	{Name: "ics.objects.type", Type: event.Keyword, Help: "Kind of object: coil, discrete_input, input_register, holding_register, …", Class: event.ClassProcess},
	{Name: "ics.objects.value", Type: event.Double, Help: "Value that was read, or that was to be written, of a run all in their order; a binary object is 0 or 1.", Class: event.ClassProcess},
	{Name: "ics.objects.name", Type: event.Keyword, Help: "Name of the object where it has no number, or one that says more: a tag, a node, DB1.DBW4.", Class: event.ClassProcess},
	{Name: "ics.objects.text", Type: event.Keyword, Help: "Value that is no number.", Class: event.ClassProcess},
	{Name: "ics.objects.old_text", Type: event.Keyword, Help: "Value that is no number, and that the same flow last saw before a write.", Class: event.ClassProcess},
	{Name: "ics.objects.status", Type: event.Keyword, Help: "What the device answered of this object by itself; absent of success.", Class: event.ClassProcess},
	{Name: "ics.objects.old_value", Type: event.Double, Help: "Value that the same flow last saw before a write.", Class: event.ClassProcess},
	{Name: "ics.objects.quality", Type: event.Keyword, Help: "What the device says against the value: invalid, overflow, substituted, …; absent of a good one.", Class: event.ClassProcess},
	{Name: "ics.objects.time", Type: event.Date, Help: "When the value was so, by the device's clock, read as UTC.", Class: event.ClassProcess},
	{Name: "ics.status.code", Type: event.Long, Help: "Result that the device answered; 0 is success.", Class: event.ClassTechnical},
	{Name: "ics.status.name", Type: event.Keyword, Help: "Name of the result.", Class: event.ClassTechnical},
	{Name: "ics.latency", Type: event.Long, Help: "From the request to its answer, in nanoseconds.", Class: event.ClassTechnical},
	Anomaly,
}

// Anomaly documents what parsers find odd: a list of keywords, the same word
// for the same oddity in every protocol.
var Anomaly = event.FieldDoc{
	Name: "tocsin.protocol.anomaly", Type: event.Keyword,
	Help:  "What is odd about the transaction: unsolicited_response, no_response, …",
	Class: event.ClassTechnical,
}

// Outcome documents ECS's word for whether what was asked was done.
var Outcome = event.FieldDoc{
	Name: "event.outcome", Type: event.Keyword,
	Help: "success, failure, or unknown where there is no telling.", Class: event.ClassTechnical,
}
