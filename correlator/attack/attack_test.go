package attack

import (
	"strings"
	"testing"
)

func TestLookup(t *testing.T) {
	f := func(id, name, tactics string) {
		t.Helper()
		got, ok := Lookup(id)
		if !ok || got.Name != name || strings.Join(got.Tactics, ", ") != tactics || got.ID != strings.ToUpper(id) {
			t.Errorf("%s: %+v %v", id, got, ok)
		}
	}
	f("t0855", "Unauthorized Command Message", "Impair Process Control")
	f("T1110.001", "Brute Force: Password Guessing", "Credential Access")
	f("T1071.004", "Application Layer Protocol: DNS", "Command and Control")
	f("T1046", "Network Service Discovery", "Discovery")
	f("T0846", "Remote System Discovery", "Discovery")
	if _, ok := Lookup("T9999"); ok {
		t.Error("T9999 is known")
	}
	for id, x := range techniques() {
		if x.Name == "" || len(x.Tactics) == 0 {
			t.Errorf("%s: %+v", id, x)
		}
	}
	if n := len(techniques()); n < 700 {
		t.Errorf("%d techniques", n)
	}
}
