package pack

import (
	"archive/zip"
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/tocsin/tocsin/event"
	"github.com/tocsin/tocsin/trace"
	"github.com/tocsin/tocsin/trace/summary"
)

// Check is one thing that Verify looked at.
type Check struct {
	Name    string `json:"name"`    // seal, archive, signature, files, custody, rules, packets, evidence, key
	OK      bool   `json:"ok"`      //
	Unknown bool   `json:"unknown"` // nothing is wrong, but it could not be decided
	Detail  string `json:"detail"`  // what was found
}

// Means says in words what it means that the check is passed.
func (c *Check) Means(l summary.Language) string {
	w := meanings[c.Name]
	if l == summary.Chinese {
		return w[1]
	}
	return w[0]
}

var meanings = map[string][2]string{
	"seal":      {"Not one byte of the file was changed, added or cut since it was sealed with the key named below.", "自以下述密钥封存以来，文件的任何一个字节都未被修改、增加或删减。"},
	"archive":   {"The archive opens, and has each file once, under a name that is safe to unpack.", "归档可以打开，每个文件只出现一次，文件名可安全解压。"},
	"signature": {"The list of hashes is the one that the same key signed.", "哈希清单由同一密钥签名。"},
	"files":     {"Every file is as it was listed; none is missing and none was put in.", "每个文件与清单一致，无缺失，无夹带。"},
	"custody":   {"The custody log is whole: no entry was changed, removed, or put elsewhere, and the last one seals exactly these files.", "保管日志完整：没有条目被修改、删除或调换，末条封存的正是这些文件。"},
	"rules":     {"The texts of rules are those of the revisions that fired, by their hashes.", "规则正文与触发告警的版本哈希一致。"},
	"packets":   {"The packet capture has as many packets as the list of sessions says.", "数据包数量与会话清单所述一致。"},
	"evidence":  {"Every event that a hop refers to is here, or is named as no longer kept.", "各跳所引用的每条证据都在包内，或已注明不再保存。"},
	"key":       {"The key is the one that you said you trust. Without that, the checks above show that the package is whole, not who made it.", "密钥是您指定信任的密钥。若未指定，上述核验只能证明内容完整，不能证明制作者身份。"},
}

// Verdict is what Verify found.
type Verdict struct {
	OK     bool    `json:"ok"` // every check is passed, but for those that could not be decided
	Key    string  `json:"key"`
	About  About   `json:"about"`
	Checks []Check `json:"checks"`
}

// Bounds of what Verify reads into memory of a package that anybody may have
// made.
const (
	maxSmall   = 256 << 20 // bytes of a file that is read whole
	maxEntries = 100_000
)

// Verify checks a package of so many bytes: everything that can be said without
// the store that it came from, and without trusting anybody. trusted may be
// nil. An error is returned for what cannot be read; what is wrong with the
// package is in the verdict.
func Verify(r io.ReaderAt, size int64, trusted ed25519.PublicKey) (*Verdict, error) {
	v := &verifier{r: r, size: size}
	v.check("seal", v.seal)
	v.check("archive", v.open)
	if v.zip != nil {
		v.check("signature", v.signature)
		v.check("files", v.files)
		v.check("custody", v.custody)
		v.check("rules", v.rules)
		v.check("packets", v.packets)
		v.check("evidence", v.evidence)
	}
	switch {
	case v.key == nil:
		v.add("key", false, false, "there is no key in the package")
	case trusted == nil:
		v.add("key", false, true, "signed with "+Fingerprint(v.key)+"; ask the sender by another way whether it is theirs, or give their key")
	case !trusted.Equal(v.key):
		v.add("key", false, false, "signed with "+Fingerprint(v.key)+", which is not the key that you trust, "+Fingerprint(trusted))
	default:
		v.add("key", true, false, Fingerprint(v.key))
	}
	v.verdict.OK = !slices.ContainsFunc(v.verdict.Checks, func(c Check) bool { return !c.OK && !c.Unknown })
	if v.key != nil {
		v.verdict.Key = Fingerprint(v.key)
	}
	if v.io != nil {
		return nil, fmt.Errorf("verify: %w", v.io)
	}
	return &v.verdict, nil
}

type verifier struct {
	r       io.ReaderAt
	size    int64
	key     ed25519.PublicKey
	zip     *zip.Reader
	entries map[string]*zip.File
	verdict Verdict
	io      error // of r
}

func (v *verifier) add(name string, ok, unknown bool, detail string) {
	v.verdict.Checks = append(v.verdict.Checks, Check{name, ok, unknown, detail})
}

// check runs one check; what it returns is what it found, or what is wrong.
func (v *verifier) check(name string, f func() (string, error)) {
	detail, err := f()
	if err != nil {
		v.add(name, false, false, err.Error())
		return
	}
	v.add(name, true, false, detail)
}

// seal checks every byte.
func (v *verifier) seal() (string, error) {
	if v.size < int64(sealSize) {
		return "", errors.New("the file is too short to be a package")
	}
	text := make([]byte, sealSize)
	if _, err := v.r.ReadAt(text, v.size-int64(sealSize)); err != nil && !errors.Is(err, io.EOF) {
		v.io = err
		return "", err
	}
	parts := strings.Split(string(text), " ")
	if len(parts) != 3 || parts[0] != sealMagic {
		return "", errors.New("the file does not end with a seal: it is no package, or was cut off")
	}
	key, err := lowerHex(parts[1], ed25519.PublicKeySize)
	if err != nil {
		return "", fmt.Errorf("the seal's key: %w", err)
	}
	signature, err := lowerHex(parts[2], ed25519.SignatureSize)
	if err != nil {
		return "", fmt.Errorf("the seal's signature: %w", err)
	}
	v.key = key
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(v.r, 0, v.size-int64(sealSize))); err != nil {
		v.io = err
		return "", err
	}
	sum := h.Sum(nil)
	if !ed25519.Verify(v.key, sealed(sum), signature) {
		return "", errors.New("the seal is broken: the file was changed after it was made")
	}
	return fmt.Sprintf("%d bytes, SHA-256 before the seal %x", v.size, sum), nil
}

// lowerHex reads hexadecimal digits in the one way in which they are written.
func lowerHex(s string, n int) ([]byte, error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != n || hex.EncodeToString(b) != s {
		return nil, fmt.Errorf("want %d lower-case hexadecimal digits", 2*n)
	}
	return b, nil
}

func (v *verifier) open() (string, error) {
	z, err := zip.NewReader(v.r, v.size)
	if err != nil {
		return "", err
	}
	if len(z.File) > maxEntries {
		return "", fmt.Errorf("%d files", len(z.File))
	}
	v.entries = map[string]*zip.File{}
	for _, f := range z.File {
		if !safe(f.Name) || !f.Mode().IsRegular() {
			return "", fmt.Errorf("the name %q is not safe to unpack", f.Name)
		}
		if v.entries[f.Name] != nil {
			return "", fmt.Errorf("%s is there twice", f.Name)
		}
		v.entries[f.Name] = f
	}
	v.zip = z
	text, err := v.read(caseName)
	if err != nil {
		return "", err
	}
	if err := json.Unmarshal(text, &v.verdict.About); err != nil {
		return "", fmt.Errorf("%s: %w", caseName, err)
	}
	if f := v.verdict.About.Format; f != formatName {
		return "", fmt.Errorf("%s: format %q, this program knows %s", caseName, f, formatName)
	}
	return fmt.Sprintf("%d files", len(z.File)), nil
}

// read returns a file whole.
func (v *verifier) read(name string) ([]byte, error) {
	f := v.entries[name]
	if f == nil {
		return nil, fmt.Errorf("%s is missing", name)
	}
	if f.UncompressedSize64 > maxSmall {
		return nil, fmt.Errorf("%s has %d bytes, more than %d", name, f.UncompressedSize64, maxSmall)
	}
	r, err := f.Open()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, maxSmall+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(text) > maxSmall {
		return nil, fmt.Errorf("%s has more than %d bytes", name, maxSmall)
	}
	return text, nil
}

func (v *verifier) signature() (string, error) {
	text, err := v.read(keyName)
	if err != nil {
		return "", err
	}
	key, err := ParsePublicPEM(text)
	if err != nil {
		return "", fmt.Errorf("%s: %w", keyName, err)
	}
	if v.key != nil && !key.Equal(v.key) {
		return "", fmt.Errorf("%s is another key than the seal's", keyName)
	}
	v.key = key
	manifest, err := v.read(manifestName)
	if err != nil {
		return "", err
	}
	signature, err := v.read(signatureName)
	if err != nil {
		return "", err
	}
	if !ed25519.Verify(key, manifest, signature) {
		return "", fmt.Errorf("%s is not what was signed", manifestName)
	}
	return "Ed25519, key " + Fingerprint(key), nil
}

// ParsePublicPEM reads what PublicPEM wrote.
func ParsePublicPEM(text []byte) (ed25519.PublicKey, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("want a public key in PEM")
	}
	k, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := k.(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("want an Ed25519 key, have %T", k)
	}
	return key, nil
}

func (v *verifier) files() (string, error) {
	manifest, err := v.read(manifestName)
	if err != nil {
		return "", err
	}
	listed := map[string]bool{manifestName: true, signatureName: true}
	n := 0
	for line := range strings.Lines(string(manifest)) {
		sum, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		if !ok || listed[name] {
			return "", fmt.Errorf("%s: line %d is none of sha256sum, or a repetition", manifestName, n+1)
		}
		listed[name] = true
		n++
		f := v.entries[name]
		if f == nil {
			return "", fmt.Errorf("%s is missing", name)
		}
		r, err := f.Open()
		if err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
		h := sha256.New()
		_, err = io.Copy(h, r)
		if err := errors.Join(err, r.Close()); err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
		if hex.EncodeToString(h.Sum(nil)) != sum {
			return "", fmt.Errorf("%s was changed", name)
		}
	}
	for name := range v.entries {
		if !listed[name] {
			return "", fmt.Errorf("%s was put in: the list does not have it", name)
		}
	}
	return fmt.Sprintf("%d files have the hashes that are listed", n), nil
}

func (v *verifier) custody() (string, error) {
	text, err := v.read(custodyName)
	if err != nil {
		return "", err
	}
	manifest, err := v.read(manifestName)
	if err != nil {
		return "", err
	}
	var others bytes.Buffer
	for line := range bytes.Lines(manifest) {
		if !bytes.HasSuffix(line, []byte("  "+custodyName+"\n")) {
			others.Write(line)
		}
	}
	n, err := checkCustody(text, others.Bytes())
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d entries", n), nil
}

func (v *verifier) rules() (string, error) {
	text, err := v.read(rulesName)
	if err != nil {
		return "", err
	}
	var rules []summary.Rule
	if err := json.Unmarshal(text, &rules); err != nil {
		return "", fmt.Errorf("%s: %w", rulesName, err)
	}
	texts, other := 0, 0
	for _, r := range rules {
		switch {
		case r.File == "":
		case v.entries[r.File] == nil:
			return "", fmt.Errorf("%s of rule %s is missing", r.File, r.Name)
		case !r.Same:
			other++
		default:
			var bodies [][]byte
			for _, name := range append([]string{r.File}, r.Parts...) {
				body, err := v.read(name)
				if err != nil {
					return "", err
				}
				bodies = append(bodies, body)
			}
			if revision(bodies[0], bodies[1:]...) != r.Hash {
				return "", fmt.Errorf("%s is not the revision of rule %s that fired", r.File, r.Name)
			}
			texts++
		}
	}
	detail := fmt.Sprintf("%d rules, %d texts", len(rules), texts)
	if other > 0 {
		detail += fmt.Sprintf("; of %d more the text is of another revision, or tuned, as the report says", other)
	}
	return detail, nil
}

func (v *verifier) packets() (string, error) {
	text, err := v.read(sessionsName)
	if err != nil {
		return "", err
	}
	rows, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
	if err != nil || len(rows) == 0 {
		return "", fmt.Errorf("%s: %w", sessionsName, errors.Join(err, io.ErrUnexpectedEOF))
	}
	at := slices.Index(rows[0], "packets_in_package")
	if at < 0 {
		return "", fmt.Errorf("%s has no column packets_in_package", sessionsName)
	}
	var want uint64
	with := 0
	for _, row := range rows[1:] {
		n, err := strconv.ParseUint(row[at], 10, 64)
		if err != nil {
			return "", fmt.Errorf("%s: %w", sessionsName, err)
		}
		if n > 0 {
			with++
		}
		want += n
	}
	f := v.entries[packetsName]
	if f == nil {
		if want > 0 {
			return "", fmt.Errorf("%s is missing, and sessions have %d packets", packetsName, want)
		}
		return "no packets: " + v.verdict.About.Without, nil
	}
	r, err := f.Open()
	if err != nil {
		return "", fmt.Errorf("%s: %w", packetsName, err)
	}
	defer r.Close()
	n, err := countPackets(r)
	if err != nil {
		return "", fmt.Errorf("%s: %w", packetsName, err)
	}
	if n != want {
		return "", fmt.Errorf("%s has %d packets, %s says %d", packetsName, n, sessionsName, want)
	}
	return fmt.Sprintf("%d packets of %d sessions; %d sessions without", n, with, len(rows)-1-with), nil
}

// countPackets walks over the blocks of a pcapng of ours, which is
// little-endian.
func countPackets(r io.Reader) (n uint64, err error) {
	b := bufio.NewReader(r)
	var head [8]byte
	for {
		if _, err := io.ReadFull(b, head[:]); errors.Is(err, io.EOF) {
			return n, nil
		} else if err != nil {
			return n, err
		}
		length := binary.LittleEndian.Uint32(head[4:])
		if length < 12 || length%4 != 0 {
			return n, fmt.Errorf("a block of %d bytes", length)
		}
		if binary.LittleEndian.Uint32(head[:]) == 6 {
			n++
		}
		if _, err := io.CopyN(io.Discard, b, int64(length)-8); err != nil {
			return n, io.ErrUnexpectedEOF
		}
	}
}

func (v *verifier) evidence() (string, error) {
	text, err := v.read(traceName)
	if err != nil {
		return "", err
	}
	var t trace.Trace
	if err := json.Unmarshal(text, &t); err != nil {
		return "", fmt.Errorf("%s: %w", traceName, err)
	}
	have := map[event.ID]bool{}
	for _, id := range v.verdict.About.Missing {
		have[id] = true
	}
	for _, name := range []string{eventsName, alertsName} {
		if err := v.ids(name, have); err != nil {
			return "", err
		}
	}
	n := 0
	for _, hops := range [][]trace.Hop{t.Path, t.Branches, t.Rejected} {
		for _, h := range hops {
			for _, id := range h.Evidence {
				if n++; !have[id] {
					return "", fmt.Errorf("the hop from %s to %s refers to %s, which is neither here nor named as missing", h.From, h.To, id)
				}
			}
		}
	}
	return fmt.Sprintf("%d references; %d events are no longer kept", n, len(v.verdict.About.Missing)), nil
}

func (v *verifier) ids(name string, have map[event.ID]bool) error {
	f := v.entries[name]
	if f == nil {
		return fmt.Errorf("%s is missing", name)
	}
	r, err := f.Open()
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer r.Close()
	d := json.NewDecoder(r)
	for {
		var e struct {
			Event struct {
				ID event.ID `json:"id"`
			} `json:"event"`
		}
		if err := d.Decode(&e); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		have[e.Event.ID] = true
	}
}
