package console

import (
	"encoding/json"
	"html/template"
	"io"
	"time"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/incident"
)

// handOver is all that whoever takes an incident over needs to know.
type handOver struct {
	Incident incident.Incident `json:"incident"`
	Timeline timelineBody      `json:"timeline"`
	By       string            `json:"by"`
	At       time.Time         `json:"at"`
	Version  string            `json:"version"`
}

func (r *handOver) json(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", " ")
	return enc.Encode(r)
}

// words are those of the page, in both languages.
var words = map[string]map[string]string{
	"en": {
		"title": "Incident", "state": "State", "owner": "Owner", "severity": "Severity", "type": "Type", "created": "Began", "changed": "Last change",
		"closed": "Closed", "summary": "Summary", "lessons": "Lessons", "open": "Tasks to do", "done": "Tasks done", "timeline": "Timeline",
		"assets": "Assets", "missing": "Linked records that are not kept any more", "made": "Written by", "none": "none", "time": "Time (UTC)",
		"who": "Who", "what": "What", "merged": "Merged into", "split": "Split from", "pins": "Pinned evidence", "nobody": "nobody",
		"report": "report", "assess": "assess", "respond": "respond", "recover": "recover", "learn": "learn",
		"alert": "alert", "event": "event", "comment": "comment", "change": "change", "task": "task",
	},
	"zh": {
		"title": "事件", "state": "阶段", "owner": "负责人", "severity": "严重程度", "type": "类型", "created": "开始时间", "changed": "最近变更",
		"closed": "已关闭", "summary": "摘要", "lessons": "经验教训", "open": "待办任务", "done": "已完成任务", "timeline": "时间线",
		"assets": "资产", "missing": "已不再保存的关联记录", "made": "编写者", "none": "无", "time": "时间（UTC）",
		"who": "人员", "what": "内容", "merged": "并入", "split": "拆分自", "pins": "固定的证据", "nobody": "无人",
		"report": "报告", "assess": "评估", "respond": "响应", "recover": "恢复", "learn": "总结",
		"alert": "告警", "event": "流量事件", "comment": "评论", "change": "变更", "task": "任务",
	},
}

var handOverPage = template.Must(template.New("handover").Parse(`<!doctype html>
<html lang="{{.Lang}}"><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{{.T.title}} {{.R.Incident.ID}}</title>
<style>
body{font:14px/1.45 system-ui,"Noto Sans CJK SC",sans-serif;margin:2em auto;max-width:60em;color:#111;background:#fff;padding:0 1em}
h1{font-size:1.5em;margin:0 0 .3em}h2{font-size:1.1em;border-bottom:1px solid #bbb;margin-top:1.6em}
table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.2em .6em .2em 0;border-bottom:1px solid #eee}
th{white-space:nowrap;font-weight:600}td{overflow-wrap:anywhere}.t{white-space:nowrap;font-variant-numeric:tabular-nums}
p{white-space:pre-wrap;overflow-wrap:anywhere}bdi{unicode-bidi:isolate}@media print{body{margin:0}}
</style>
<h1>{{.T.title}} {{.R.Incident.ID}}: <bdi>{{.R.Incident.Title}}</bdi></h1>
<table>
<tr><th>{{.T.state}}<td>{{.State}}<th>{{.T.severity}}<td>{{.R.Incident.Severity}} ({{.Level}})
<tr><th>{{.T.type}}<td>{{.Type}}<th>{{.T.owner}}<td><bdi>{{or .R.Incident.Owner .T.nobody}}</bdi>
<tr><th>{{.T.created}}<td class="t">{{.Time .R.Incident.Created}} <bdi>{{.R.Incident.By}}</bdi><th>{{.T.changed}}<td class="t">{{.Time .R.Incident.Changed}}
{{with .R.Incident.MergedInto}}<tr><th>{{$.T.merged}}<td colspan="3">{{.}}{{end}}
{{with .R.Incident.SplitFrom}}<tr><th>{{$.T.split}}<td colspan="3">{{.}}{{end}}
</table>
<h2>{{.T.summary}}</h2><p>{{or .R.Incident.Summary .T.none}}</p>
{{with .R.Incident.Lessons}}<h2>{{$.T.lessons}}</h2><p>{{.}}</p>{{end}}
<h2>{{.T.open}}</h2>
<table>{{range .Tasks false}}<tr><td class="t">{{index $.T .Phase}}<td>{{$.Text .Title}}<td><bdi>{{.Assignee}}</bdi><td>{{.Note}}{{else}}<tr><td>{{.T.none}}{{end}}</table>
<h2>{{.T.done}}</h2>
<table>{{range .Tasks true}}<tr><td class="t">{{index $.T .Phase}}<td>{{$.Text .Title}}<td class="t">{{$.Time .At}}<td><bdi>{{.By}}</bdi><td>{{.Note}}{{else}}<tr><td>{{.T.none}}{{end}}</table>
<h2>{{.T.assets}}</h2><p>{{range .R.Incident.Assets}}<bdi>{{.}}</bdi> {{else}}{{.T.none}}{{end}}</p>
<h2>{{.T.timeline}}</h2>
<table><tr><th>{{.T.time}}<th><th>{{.T.who}}<th>{{.T.what}}
{{range .R.Timeline.Items}}<tr><td class="t">{{$.Time .Time}}<td class="t">{{index $.T .Kind}}{{with .Severity}} {{.}}{{end}}<td><bdi>{{.By}}</bdi><td><bdi>{{.Text}}</bdi>{{with .ID}} <small>{{.}}</small>{{end}}{{end}}
</table>
<h2>{{.T.pins}}</h2><p>{{range .R.Incident.Pins}}{{.}} {{else}}{{.T.none}}{{end}}</p>
{{with .R.Timeline.Missing}}<h2>{{$.T.missing}}</h2><p>{{range .}}{{.}} {{end}}</p>{{end}}
<p><small>{{.T.made}} <bdi>{{.R.By}}</bdi>, {{.Time .R.At}}, Tocsin {{.R.Version}}</small></p>
</html>
`))

// view is what the page is made from.
type view struct {
	R    *handOver
	T    map[string]string
	Lang string
}

// State names the incident's state.
func (v view) State() string { return v.T[v.R.Incident.State] }

// Level names the incident's severity.
func (v view) Level() string { return event.LevelOf(v.R.Incident.Severity) }

// Type names the incident's type.
func (v view) Type() string {
	for _, t := range incident.Types {
		if t.Name == v.R.Incident.Type {
			return v.Text(t.Title)
		}
	}
	return v.R.Incident.Type
}

// Text is a text in the page's language.
func (v view) Text(t incident.Text) string {
	if v.Lang == "zh" {
		return t.Zh
	}
	return t.En
}

// Time is a time as it is shown.
func (v view) Time(t any) string {
	switch t := t.(type) {
	case time.Time:
		return t.UTC().Format("2006-01-02 15:04:05")
	case *time.Time:
		if t != nil {
			return t.UTC().Format("2006-01-02 15:04:05")
		}
	}
	return ""
}

// Tasks are those that are done, or are not.
func (v view) Tasks(done bool) (list []incident.Task) {
	for _, t := range v.R.Incident.Tasks {
		if t.Done == done {
			list = append(list, t)
		}
	}
	return list
}

func (r *handOver) html(w io.Writer, lang string) error {
	return handOverPage.Execute(w, view{r, words[lang], lang})
}
