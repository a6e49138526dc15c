package pack

// readme goes into each package; {key} is the fingerprint of the signing key.
const readme = `Tocsin evidence package
=======================

summary.en.html  summary.en.pdf   the report, in English
summary.zh.html  summary.zh.pdf   the report, in Chinese
trace.json       hops.csv         the reconstruction: hops, branches, candidates not taken, reasons
sources.json     sources.csv      who may have attacked, ranked
timeline.json    timeline.csv     what happened, in order
graph.svg        graph.graphml    graph.dot: the hop graph
events.jsonl     events.csv       flows and transactions (Elastic Common Schema)
alerts.jsonl     alerts.csv       what was detected, and why
rules.json       rules/           the rules that fired, with their hashes
sessions.csv     packets.pcapng   each flow of the hops, and its packets where they were kept
sensors.json                      what the sensors saw and missed, and how good their clocks are
attack.json                       techniques of MITRE ATT&CK; attack-navigator-*.json for its Navigator
case.stix.json                    STIX 2.1     gbt36643.json: GB/T 36643-2018
case.json                         what the package says of itself
custody.jsonl                     how the evidence came to be, each line with the hash of the one before
MANIFEST.sha256  MANIFEST.sig     hashes of all files, and their signature
KEY.pem                           the public key

To check it, without a network and without us:

  tocsin verify FILE.zip

or, unpacked, with programs that every system has:

  sha256sum -c MANIFEST.sha256
  openssl pkeyutl -verify -pubin -inkey KEY.pem -rawin -in MANIFEST.sha256 -sigfile MANIFEST.sig

Both say that nothing was changed since the owner of this key sealed it:

  {key}

Whose key that is, no file can say of itself: ask the sender by another way,
such as by telephone, for the first and the last digits.

核验方法
--------

不联网、不依赖本方，执行 tocsin verify 文件.zip；或解压后用 sha256sum 与 openssl
按上面两条命令核验。核验通过说明：自上述公钥的持有者封存以来，内容未被改动。
公钥归谁所有，请通过电话等其他途径向发送方核对其首尾数位。
`
