package trace

import (
	"fmt"
	"strings"
)

// Message is something said, such that it can be said in another language: a
// key of the catalogue, and the values of its blanks.
type Message struct {
	Key    string            `json:"key"`
	Values map[string]string `json:"values"` // by the name of the blank
	Text   string            `json:"text"`   // in English
}

// Languages are those that the catalogue has, as BCP 47 tags.
var Languages = []string{"en", "zh"}

// Known reports whether the catalogue has a key.
func Known(key string) bool { _, ok := words[key]; return ok }

// In says a message in a language of Languages; in English in any other. A key
// that the catalogue does not have is said as it was written.
func (m *Message) In(language string) string {
	if w, ok := words[m.Key]; ok {
		if language == "zh" {
			return fillBlanks(w.zh, m.Values)
		}
		return fillBlanks(w.en, m.Values)
	}
	return m.Text
}

func fillBlanks(text string, values map[string]string) string {
	if len(values) == 0 {
		return text
	}
	pairs := make([]string, 0, 2*len(values))
	for k, v := range values {
		pairs = append(pairs, "{"+k+"}", v)
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// say makes a message of a key and the names and values of its blanks.
func say(key string, blanks ...any) Message {
	m := Message{Key: key, Values: map[string]string{}}
	for i := 0; i+1 < len(blanks); i += 2 {
		m.Values[blanks[i].(string)] = fmt.Sprint(blanks[i+1])
	}
	m.Text = m.In("en")
	return m
}

// word is one message in every language.
type word struct{ en, zh string }

// words is the catalogue.
var words = map[string]word{
	// What speaks for a hop, and against it.
	"alert":           {"alert about this conversation: {rule} (severity {severity})", "关于此会话的告警：{rule}（严重度 {severity}）"},
	"alert-others":    {"it is one of {n} sources that this alert names together", "该告警同时列出 {n} 个源，这只是其中之一"},
	"alert-access":    {"the alert is of a kind that gives access: initial access, credential access, lateral movement or execution", "该告警属于可取得访问权的类型：初始访问、凭据访问、横向移动或执行"},
	"control":         {"the host opened it to the outside, and may be told there what to do", "该主机主动向外建立此连接，可能由此接受指令"},
	"remote":          {"{service} gives control of the host", "{service} 可控制该主机"},
	"login":           {"a login succeeded", "登录成功"},
	"after-failures":  {"after {n} failed ones", "此前失败 {n} 次"},
	"failures":        {"{n} logins failed and none is seen to succeed", "{n} 次登录失败，未见成功"},
	"no-login":        {"passwords were guessed, and no login is seen to succeed", "有口令猜测，但未见登录成功"},
	"writes":          {"{n} changes to an industrial process", "对工业过程的更改 {n} 次"},
	"open-next":       {"was open when the next step began", "下一步开始时该会话仍打开"},
	"ended-next":      {"ended {gap} before the next step began", "在下一步开始前 {gap} 结束"},
	"open-arrive":     {"began while the session into its source was open", "开始时通往其源主机的会话仍打开"},
	"after-arrive":    {"began {gap} after the session into its source ended", "在通往其源主机的会话结束 {gap} 后开始"},
	"new-pair":        {"this pair was not seen on this service before, in {history} of records", "在 {history} 的记录中，这对主机此前未使用过该服务"},
	"often":           {"this pair used this service {n} times before", "这对主机此前已使用该服务 {n} 次"},
	"suspect":         {"the source is named by other alerts", "其源主机被其他告警提及"},
	"suspect-prefix":  {"{n} other addresses of {prefix} are named by alerts", "{prefix} 中另有 {n} 个地址被告警提及"},
	"clients":         {"{n} sources use this service", "有 {n} 个源使用该服务"},
	"loss":            {"{share} % of packets were not seen at that time", "该时段有 {share} % 的数据包未被看到"},
	"incomplete":      {"records are missing: {stored} of {made} events that the sensors made are stored", "记录缺失：传感器产生 {made} 个事件，仅存有 {stored} 个"},
	"maybe-often":     {"whether this pair does this every day cannot be told from what is left", "由剩余记录无法判断这对主机是否日常如此"},
	"pulses":          {"{matched} of {n} times when the next connection woke, this one did within {window}; chance would be {chance}", "下一连接恢复活动 {n} 次，其中 {matched} 次本连接在 {window} 内同时活动；随机情况下为 {chance} 次"},
	"pulses-against":  {"the next connection woke {n} times, and this one at only {matched} of them; chance would be {chance}", "下一连接恢复活动 {n} 次，本连接仅在其中 {matched} 次同时活动；随机情况下为 {chance} 次"},
	"starts":          {"{matched} of {n} of the next connections began within {window} of something that came on this one; chance would be {chance}", "后续 {n} 个连接中有 {matched} 个在本连接有数据后 {window} 内开始；随机情况下为 {chance} 个"},
	"volume":          {"as much was sent on as came: {in} in, {out} out", "转发量与到达量相当：入 {in}，出 {out}"},
	"volume-against":  {"far more was sent on than came: {in} in, {out} out", "转发量远大于到达量：入 {in}，出 {out}"},
	"content":         {"what identifies it passes through unchanged: {what}", "其标识特征原样通过：{what}"},
	"forwarded":       {"{n} requests that were passed on name it as where they came from", "有 {n} 个被转发的请求指明其为来源"},
	"translated":      {"the same connection was seen with other addresses by {sensor}: {from} to {to}", "传感器 {sensor} 以其他地址看到同一连接：{from} 到 {to}"},
	"translated-many": {"{n} other connections are as much like it, so which was translated into it cannot be told", "另有 {n} 个连接与其同样相似，无法判断由哪一个转换而来"},
	"relayed":         {"{relay} passes on what comes on it", "{relay} 转发其上的内容"},
	"explained":       {"{from} explains it better ({confidence} %)", "{from} 更能解释（{confidence} %）"},
	"branch-alert":    {"{rule} (severity {severity})", "{rule}（严重度 {severity}）"},
	"branch-alerts":   {"{rule} (severity {severity}), and {n} other targets", "{rule}（严重度 {severity}），另有 {n} 个目标"},

	// What would have been needed.
	"gap-loss":       {"{share} % of the packets of that time were not seen", "该时段有 {share} % 的数据包未被看到"},
	"gap-incomplete": {"{stored} of {made} events that the sensors made between {from} and {to} are stored: what is not there could have said otherwise", "{from} 至 {to} 之间传感器产生 {made} 个事件，仅存有 {stored} 个：缺失的记录可能另有说明"},
	"gap-ledger":     {"there is no account of the sensors for that time: whether all that they made is stored is not known", "该时段没有传感器账目：无法判断其产生的记录是否全部保存"},
	"gap-history":    {"the store begins at {first}, {gap} before the first hop: what was usual before is hardly known", "存储始于 {first}，仅早于第一跳 {gap}：此前的常态所知甚少"},
	"gap-cut":        {"{host} has more than {n} records that matter in that time; those nearest to the act were looked at", "{host} 在该时段的相关记录超过 {n} 条；只查看了最接近该行为的部分"},
	"gap-inside":     {"no conversation into {host} before {time} explains how it came to act: a host on the inside, or a path that no sensor sees", "{time} 之前没有通往 {host} 的会话可解释其行为：源自内部主机，或路径未被任何传感器看到"},
	"gap-outside":    {"{host} lies outside: who used it cannot be seen from here", "{host} 位于外部：从此处无法看到其使用者"},
	"gap-spoofed":    {"the sources of what reached {host} are made up: where it came from must be asked of the networks before {sensor}, link by link", "到达 {host} 的流量源地址系伪造：其来源须向 {sensor} 之前的网络逐段查询"},
	"gap-rival":      {"{rival} explains hop {hop} nearly as well as {taken}", "{rival} 对第 {hop} 跳的解释几乎与 {taken} 相当"},
	"gap-hops":       {"the path may go on: more than {n} hops were not followed", "路径可能更长：超过 {n} 跳未再追踪"},

	// What is known of a source.
	"source-handshake":   {"{n} connections of it were answered and went on: it received the answers, so the address is its own", "其 {n} 个连接得到应答并继续：它收到了应答，地址属实"},
	"source-oneway":      {"none of its {n} flows was answered and went on: the address is a claim", "其 {n} 个流均未得到应答并继续：地址仅为声称"},
	"source-bogon":       {"{range} is no address of the internet ({what})", "{range} 不是互联网地址（{what}）"},
	"source-inside-out":  {"an address of the inside, in packets that came from outside", "来自外部的数据包使用了内部地址"},
	"source-ttl-spread":  {"its time to live differs by {n} at one sensor: several systems, or several ways", "同一传感器处其 TTL 相差 {n}：多个系统或多条路径"},
	"source-ttl-odd":     {"its packets have a time to live of {ttl}, and the flood's too", "其数据包 TTL 为 {ttl}，与洪泛流量相同"},
	"source-distance":    {"{hops} routers before {sensor}: its packets have a time to live of {ttl} there, of {initial}", "距 {sensor} {hops} 个路由器：其数据包在此处 TTL 为 {ttl}（初始 {initial}）"},
	"source-seen-first":  {"nearest to {sensor}", "最接近 {sensor}"},
	"source-listed":      {"{provider} lists {value} with confidence {confidence}", "{provider} 收录 {value}，置信度 {confidence}"},
	"source-listed-age":  {"{provider} lists {value} with confidence {confidence}, last seen {age} before", "{provider} 收录 {value}，置信度 {confidence}，最后出现于 {age} 之前"},
	"source-relay":       {"something that others use: {why}", "被他人使用：{why}"},
	"source-services":    {"it answers on {n} services itself", "其自身在 {n} 个服务上应答"},
	"source-systems":     {"{n} kinds of systems speak from it", "有 {n} 种系统由其发出通信"},
	"source-host-name":   {"its network is {organization}, which rents out machines or hides users", "其网络属于 {organization}，出租主机或隐藏用户"},
	"source-shared":      {"{what} {value} was also seen of {others}", "{what} {value} 也出现于 {others}"},
	"source-flood":       {"{n} connections from {sources} addresses to {target}, none of which went on", "{sources} 个地址对 {target} 发起 {n} 个连接，均未继续"},
	"source-folded":      {"{n} addresses of {prefix} are taken for one", "{prefix} 的 {n} 个地址视为同一来源"},
	"source-inside-host": {"a host of the inside that nobody outside is seen to control", "内部主机，未见外部控制"},
}
