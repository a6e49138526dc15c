package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/elastic"
	"github.com/tocsin/tocsin/store/embedded"
)

func dataFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("data", "data", "`DIR` of the embedded store")
}

// storing are the flags that say which store it is: the embedded one, or
// Elasticsearch where that is given.
type storing struct {
	cmd               *cobra.Command
	data              *string
	urls              *[]string
	prefix            *string
	user              *string
	passwordFile      *string
	keyFile           *string
	authority, finger *string
	// refused, if set, is given what Elasticsearch will never take.
	refused func(context.Context, []elastic.Refused) error
}

func storeFlags(cmd *cobra.Command) storing {
	return storing{
		cmd:          cmd,
		data:         dataFlag(cmd),
		urls:         cmd.Flags().StringSlice("elasticsearch", nil, "`URL` of Elasticsearch, which is then the store instead of DIR; several of one cluster with commas between"),
		prefix:       cmd.Flags().String("elasticsearch-prefix", elastic.DefaultConfig().Prefix, "`PREFIX` of the names of indices and templates"),
		user:         cmd.Flags().String("elasticsearch-user", "", "`NAME` of the user there; the password is in TOCSIN_ELASTICSEARCH_PASSWORD or a file"),
		passwordFile: cmd.Flags().String("elasticsearch-password-file", "", "`FILE` with the user's password"),
		keyFile:      cmd.Flags().String("elasticsearch-api-key-file", "", "`FILE` with an API key as Elasticsearch encodes it, instead of a user; or in TOCSIN_ELASTICSEARCH_API_KEY"),
		authority:    cmd.Flags().String("elasticsearch-ca", "", "`FILE` with the certificate of the authority that signed the server's, PEM"),
		finger:       cmd.Flags().String("elasticsearch-fingerprint", "", "SHA-256 `FINGERPRINT` of that certificate, instead of the file"),
	}
}

// embedded reports whether the store is the embedded one.
func (s storing) embedded() bool { return len(*s.urls) == 0 }

// open opens the store. ReadWrite is for one process at a time if the store is
// embedded, and for many if it is not; ReadOnly changes nothing there.
func (s storing) open(ctx context.Context, mode embedded.Mode) (store.Store, error) {
	if !s.embedded() {
		if s.cmd.Flags().Changed("data") {
			return nil, usagef("--data and --elasticsearch: want one store")
		}
		cfg, err := s.elastic()
		if err != nil {
			return nil, err
		}
		st, err := elastic.Open(ctx, cfg)
		if err != nil {
			return nil, err
		}
		return st, nil
	}
	st, err := embedded.Open(*s.data, mode)
	switch {
	case errors.Is(err, fs.ErrNotExist) && mode == embedded.ReadOnly:
		return nil, fmt.Errorf("%w; tocsin run --data %s makes one", err, *s.data)
	case err != nil:
		return nil, err
	}
	return st, nil
}

// openToFill opens the store for what sensors see, and makes Elasticsearch
// ready for it.
func (s storing) openToFill(ctx context.Context) (store.Store, error) {
	st, err := s.open(ctx, embedded.ReadWrite)
	if es, ok := st.(*elastic.Store); ok && err == nil {
		if err := es.Prepare(ctx); err != nil {
			return nil, errors.Join(err, st.Close())
		}
	}
	return st, err
}

// elastic is the configuration as the flags and the environment have it.
func (s storing) elastic() (cfg elastic.Config, err error) {
	cfg = elastic.DefaultConfig()
	cfg.Addresses, cfg.Prefix, cfg.Username, cfg.Fingerprint = *s.urls, *s.prefix, *s.user, *s.finger
	cfg.Reject = s.refused
	cfg.Log = slog.New(slog.NewTextHandler(s.cmd.ErrOrStderr(), nil))
	if cfg.Schema, err = schema(); err != nil {
		return cfg, err
	}
	if cfg.Password, err = secret("TOCSIN_ELASTICSEARCH_PASSWORD", *s.passwordFile); err != nil {
		return cfg, err
	}
	if cfg.APIKey, err = secret("TOCSIN_ELASTICSEARCH_API_KEY", *s.keyFile); err != nil {
		return cfg, err
	}
	if *s.authority != "" {
		if cfg.CACert, err = os.ReadFile(*s.authority); err != nil {
			return cfg, fmt.Errorf("--elasticsearch-ca: %w", err)
		}
	}
	return cfg, nil
}

// secret is what a file holds, or else a variable of the environment: never a
// flag, which all users of the machine may read.
func secret(env, file string) (string, error) {
	if file == "" {
		return os.Getenv(env), nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	first, _, _ := strings.Cut(string(text), "\n")
	if first = strings.TrimSpace(first); first == "" {
		return "", fmt.Errorf("%s: the first line is empty; it should be a secret", file)
	}
	return first, nil
}
