package main

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/tocsin/tocsin/trace/pack"
	words "github.com/tocsin/tocsin/trace/summary"
)

func newVerify() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "Check an exported package, offline, and say what each check means",
		Long: `Check a package that tocsin trace --format package made: that not one byte of it
was changed, and that its parts agree with each other. Nothing else is needed, no
network, and no store. Exit 1: something is wrong.

Who made the package is known only by the key: give the public key of whom you
trust with --key, as they gave it to you by another way.`,
		Example: "  tocsin verify case.zip\n  tocsin verify case.zip --key sender.pem --language zh",
		Args:    cobra.ExactArgs(1),
	}
	keyFile := cmd.Flags().String("key", "", "`FILE` with the public key of the sender that you trust, PEM")
	language := cmd.Flags().String("language", "en", "`LANGUAGE` of the explanations: en, zh")
	asJSON := cmd.Flags().Bool("json", false, "print the verdict as JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		l := words.Language(*language)
		if l != words.English && l != words.Chinese {
			return usagef("--language %s: want en or zh", *language)
		}
		var trusted ed25519.PublicKey
		if *keyFile != "" {
			text, err := os.ReadFile(*keyFile)
			if err != nil {
				return err
			}
			if trusted, err = pack.ParsePublicPEM(text); err != nil {
				return fmt.Errorf("--key: %s: %w", *keyFile, err)
			}
		}
		f, err := os.Open(args[0])
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		v, err := pack.Verify(f, info.Size(), trusted)
		if err != nil {
			return err
		}
		out := cmd.OutOrStdout()
		if *asJSON {
			e := json.NewEncoder(out)
			e.SetIndent("", "  ")
			err = e.Encode(v)
		} else {
			err = tellVerdict(out, v, l)
		}
		if err == nil && !v.OK {
			return errTold
		}
		return err
	}
	return cmd
}

func tellVerdict(w io.Writer, v *pack.Verdict, l words.Language) error {
	result := map[bool]string{true: "WHOLE: nothing was changed since the package was sealed", false: "NOT WHOLE: do not rely on this package"}
	if l == words.Chinese {
		result = map[bool]string{true: "完整：自封存以来未被改动", false: "不完整：请勿采信此证据包"}
	}
	if v.About.Title != "" {
		fmt.Fprintf(w, "%s\n%s\n\n", v.About.Title, v.About.Marking)
	}
	for _, c := range v.Checks {
		mark := "FAIL"
		if c.OK {
			mark = "ok  "
		} else if c.Unknown {
			mark = "?   "
		}
		fmt.Fprintf(w, "%s %-10s %s\n                %s\n", mark, c.Name, c.Detail, c.Means(l))
	}
	_, err := fmt.Fprintf(w, "\n%s\n", result[v.OK])
	return err
}
