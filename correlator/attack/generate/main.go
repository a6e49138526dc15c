// Command generate writes attack.tsv from the STIX bundles of MITRE ATT&CK that
// ATTACK_ENTERPRISE and ATTACK_ICS name.
package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"slices"
	"strings"
)

type bundle struct {
	Objects []struct {
		Type       string `json:"type"`
		Name       string `json:"name"`
		Shortname  string `json:"x_mitre_shortname"`
		Revoked    bool   `json:"revoked"`
		Deprecated bool   `json:"x_mitre_deprecated"`
		References []struct {
			Source string `json:"source_name"`
			ID     string `json:"external_id"`
		} `json:"external_references"`
		Phases []struct {
			Chain string `json:"kill_chain_name"`
			Phase string `json:"phase_name"`
		} `json:"kill_chain_phases"`
	} `json:"objects"`
}

type technique struct {
	id, name string
	tactics  []string
	current  bool
}

func main() {
	log.SetFlags(0)
	byID := map[string]technique{}
	for _, env := range []string{"ATTACK_ENTERPRISE", "ATTACK_ICS"} {
		data, err := os.ReadFile(os.Getenv(env))
		if err != nil {
			log.Fatalf("%s: %v: set it to the path of the bundle", env, err)
		}
		var b bundle
		if err := json.Unmarshal(data, &b); err != nil {
			log.Fatalf("%s: %v", env, err)
		}
		tactics := map[string]string{}
		for _, o := range b.Objects {
			if o.Type == "x-mitre-tactic" {
				tactics[o.Shortname] = o.Name
			}
		}
		for _, o := range b.Objects {
			if o.Type != "attack-pattern" {
				continue
			}
			t := technique{name: o.Name, current: !o.Revoked && !o.Deprecated}
			for _, r := range o.References {
				if strings.HasPrefix(r.Source, "mitre-") && strings.HasPrefix(r.ID, "T") {
					t.id = r.ID
					break
				}
			}
			for _, p := range o.Phases {
				// Old entries name tactics that are no more.
				if name := tactics[p.Phase]; name != "" {
					t.tactics = append(t.tactics, name)
				}
			}
			if old, ok := byID[t.id]; t.id != "" && (!ok || t.current && !old.current) {
				byID[t.id] = t
			}
		}
	}
	list := make([]technique, 0, len(byID))
	for _, t := range byID {
		if parent, ok := byID[t.id[:5]]; ok && len(t.id) > 5 {
			t.name = parent.name + ": " + t.name
		}
		list = append(list, t)
	}
	slices.SortFunc(list, func(a, b technique) int { return cmp.Compare(a.id, b.id) })
	var out bytes.Buffer
	out.WriteString("# Techniques of MITRE ATT&CK 18.1, Enterprise and ICS: identifier, name, tactics. See NOTICE.\n")
	for _, t := range list {
		fmt.Fprintf(&out, "%s\t%s\t%s\n", t.id, t.name, strings.Join(t.tactics, ";"))
	}
	if err := os.WriteFile("attack.tsv", out.Bytes(), 0o644); err != nil {
		log.Fatal(err)
	}
}
