package http

import "bytes"

const mask = "***"

// secretWords are what the names of parameters and headers with secrets have
// in them; secretNames are such names as a whole. Both without the characters
// that significant drops.
var (
	secretWords = [][]byte{
		[]byte("password"), []byte("passwd"), []byte("passphrase"), []byte("passcode"), []byte("pwd"), []byte("secret"),
		[]byte("token"), []byte("apikey"), []byte("accesskey"), []byte("privatekey"), []byte("credential"), []byte("jwt"),
		[]byte("authorization"), []byte("sessionid"), []byte("sessid"), []byte("cookie"),
	}
	secretNames = [][]byte{
		[]byte("pass"), []byte("sid"), []byte("auth"), []byte("sig"), []byte("signature"), []byte("key"), []byte("session"),
	}
)

// secretParameter reports whether a parameter of this name holds a secret.
// Percent signs hide nothing: the name is decoded first.
func secretParameter(name []byte) bool {
	var buf [64]byte
	key := significant(buf[:0], name)
	for _, w := range secretNames {
		if bytes.Equal(key, w) {
			return true
		}
	}
	return hasSecretWord(key)
}

// secretHeader reports whether a header of this name holds a secret.
func secretHeader(name []byte) bool {
	var buf [64]byte
	key := significant(buf[:0], name)
	return hasSecretWord(key) || bytes.Equal(key, []byte("xauth"))
}

func hasSecretWord(key []byte) bool {
	for _, w := range secretWords {
		if bytes.Contains(key, w) {
			return true
		}
	}
	return false
}

// significant appends the letters and digits of a name in lower case, as many
// as dst has room for, of a longer one the last.
func significant(dst, name []byte) []byte {
	if len(name) > 3*cap(dst) {
		name = name[len(name)-3*cap(dst):]
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		if c == '%' && i+2 < len(name) {
			if v, ok := parseHex(name[i+1 : i+3]); ok {
				c = byte(v)
				i += 2
			}
		}
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if !isDigit(c) && (c < 'a' || c > 'z') {
			continue
		}
		if len(dst) == cap(dst) {
			copy(dst, dst[1:])
			dst = dst[:len(dst)-1]
		}
		dst = append(dst, c)
	}
	return dst
}

// maskURL returns u with *** for the values of parameters that hold secrets,
// and for the password before an @. Where there are none it returns u itself.
func maskURL(u []byte) []byte {
	var out []byte // u so far with masks, nil while there are none
	done := 0      // bytes of u that are in out
	hide := func(from, to int) {
		if from < to {
			out = append(append(out, u[done:from]...), mask...)
			done = to
		}
	}
	if i := bytes.Index(u, []byte("://")); i >= 0 {
		authority := u[i+3:]
		if j := bytes.IndexAny(authority, "/?#"); j >= 0 {
			authority = authority[:j]
		}
		if at := bytes.LastIndexByte(authority, '@'); at >= 0 {
			if colon := bytes.IndexByte(authority[:at], ':'); colon >= 0 {
				hide(i+3+colon+1, i+3+at)
			}
		}
	}
	start := 0       // of a parameter's name
	ends := `?&;# "` // of a parameter's value; within a query a question mark is not one
	for i := 0; i < len(u); i++ {
		if u[i] == '?' {
			ends = `&;# "`
		}
		switch u[i] {
		case '?', '&', ';', '/', '#', ' ', ',', '"':
			start = i + 1
		case '=':
			if i < done || !secretParameter(u[start:i]) {
				continue
			}
			end := len(u)
			if j := bytes.IndexAny(u[i+1:], ends); j >= 0 {
				end = i + 1 + j
			}
			hide(i+1, end)
			i = end - 1
		}
	}
	if out == nil {
		return u
	}
	return append(out, u[done:]...)
}
