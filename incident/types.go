package incident

import "slices"

// Text is said in the page's two languages.
type Text struct {
	En string `json:"en"`
	Zh string `json:"zh"`
}

// States are what an incident goes through: the phases of ISO/IEC 27035 from
// the report on, and the end.
var States = []string{"report", "assess", "respond", "recover", "learn", "closed"}

const closed = "closed"

// Type is a kind of incident, with the tasks that one of it begins with.
type Type struct {
	Name  string     `json:"name"`
	Title Text       `json:"title"`
	Tasks []TypeTask `json:"tasks" nullable:"false"`
}

// TypeTask is a task of a check-list.
type TypeTask struct {
	Phase string `json:"phase"` // one of States
	Text
}

// common are the tasks of every incident: before the type's own, and after.
var first = []TypeTask{
	{"report", Text{"Say in one sentence what happened, where and when", "用一句话说明发生了什么、在哪里、什么时候"}},
	{"report", Text{"Pin the evidence before retention removes it", "在保留期清除之前固定证据"}},
	{"assess", Text{"Establish which assets, zones and sectors are touched", "确定受影响的资产、区域和行业"}},
	{"assess", Text{"Decide on the level and who must be told, and by when", "确定级别，以及须在何时向谁报告"}},
}

var last = []TypeTask{
	{"recover", Text{"Confirm with the owner that the service is back and behaves as before", "与责任人确认服务已恢复且行为正常"}},
	{"learn", Text{"Write down what let it happen and what would have shown it earlier", "记录事件成因，以及怎样才能更早发现"}},
	{"learn", Text{"Turn what was learnt into a rule, a list entry or a change of policy", "把经验转化为规则、名单条目或策略变更"}},
}

// Types are the kinds of incidents, the last for what fits none of them.
var Types = []Type{
	withCommon("intrusion", Text{"Intrusion", "入侵"},
		TypeTask{"assess", Text{"Trace the attack back to its source and forward to what it reached", "追溯攻击来源，并查明其到达之处"}},
		TypeTask{"assess", Text{"Search 30 days for the same source, certificate and fingerprint", "检索 30 天内相同的来源、证书和指纹"}},
		TypeTask{"respond", Text{"Cut the way in at the border, after asking the owner of the process", "征得工艺责任人同意后，在边界切断入侵路径"}},
		TypeTask{"respond", Text{"Replace the credentials that were used or could be read", "更换被使用或可能泄露的凭据"}},
		TypeTask{"recover", Text{"Watch the stepping stones for a week", "对跳板主机持续观察一周"}}),
	withCommon("ot_manipulation", Text{"Manipulation of an industrial process", "工业过程操纵"},
		TypeTask{"assess", Text{"List every write, control and mode change with old and new value", "列出每次写入、控制和模式变更及其新旧值"}},
		TypeTask{"assess", Text{"Ask the operator whether the command was theirs", "向运行人员确认该命令是否由其下达"}},
		TypeTask{"respond", Text{"Bring the process to a safe state by hand if values are out of range", "如数值越限，手动将过程转入安全状态"}},
		TypeTask{"respond", Text{"Block the source on the path to the controller, not the controller", "在通往控制器的路径上封堵来源，而非控制器本身"}},
		TypeTask{"recover", Text{"Compare the controller's program and set points with the last known good", "将控制器程序和设定值与最近一次可信版本比对"}}),
	withCommon("malware", Text{"Malware or command and control", "恶意软件或命令控制"},
		TypeTask{"assess", Text{"Find every host that spoke to the same destination", "找出所有与同一目标通信的主机"}},
		TypeTask{"respond", Text{"Isolate the hosts and keep their memory and disks", "隔离主机并保全内存和磁盘"}},
		TypeTask{"respond", Text{"Block domains and addresses, and look for their successors", "封堵域名和地址，并查找其替代者"}},
		TypeTask{"recover", Text{"Rebuild from a known good image", "用可信镜像重建"}}),
	withCommon("reconnaissance", Text{"Scanning and reconnaissance", "扫描与侦察"},
		TypeTask{"assess", Text{"See which of the scanned services answered", "查看哪些被扫描的服务作了应答"}},
		TypeTask{"respond", Text{"Close what answered and need not", "关闭不必要的应答服务"}}),
	withCommon("denial_of_service", Text{"Denial of service", "拒绝服务"},
		TypeTask{"assess", Text{"Tell a flood from a failure: rates, sources, spoofing", "区分洪泛与故障：速率、来源、伪造"}},
		TypeTask{"respond", Text{"Ask the provider upstream to filter", "请上游运营商过滤"}},
		TypeTask{"recover", Text{"Check the sensors' ledger for what was not seen meanwhile", "核对传感器账目，查明期间未见的流量"}}),
	withCommon("exfiltration", Text{"Exfiltration of data", "数据外泄"},
		TypeTask{"assess", Text{"Establish how much left, whose it is, and its class", "确定外泄数量、归属和数据级别"}},
		TypeTask{"respond", Text{"Stop the channel and keep a record of what it carried", "阻断通道并保留其内容记录"}},
		TypeTask{"respond", Text{"Tell the data's owners", "通知数据所有者"}}),
	withCommon("credential", Text{"Stolen or guessed credentials", "凭据被盗或被猜测"},
		TypeTask{"assess", Text{"List every sign-in of the account since the first odd one", "列出该账户自首次异常以来的所有登录"}},
		TypeTask{"respond", Text{"Lock the account and end its sessions", "锁定账户并结束其会话"}}),
	withCommon("other", Text{"Other", "其他"}),
}

func withCommon(name string, title Text, tasks ...TypeTask) Type {
	all := slices.Concat(first, tasks, last)
	slices.SortStableFunc(all, func(a, b TypeTask) int { return slices.Index(States, a.Phase) - slices.Index(States, b.Phase) })
	return Type{name, title, all}
}

// typeOf finds a type by its name.
func typeOf(name string) (Type, bool) {
	i := slices.IndexFunc(Types, func(t Type) bool { return t.Name == name })
	if i < 0 {
		return Type{}, false
	}
	return Types[i], true
}
