package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tocsin/tocsin/correlator"
	"github.com/tocsin/tocsin/correlator/enrich"
)

// atlas is the databases that say where public addresses are.
type atlas struct {
	paths *[]string
	geo   *enrich.Geo // nil: none
}

func atlasFlag(cmd *cobra.Command) *atlas {
	return &atlas{paths: cmd.Flags().StringArray("geo", nil, "`FILE` that says where public addresses are, or whose: MaxMind DB format; may be repeated")}
}

// enrichers reads the databases.
func (a *atlas) enrichers() ([]correlator.Enricher, error) {
	if len(*a.paths) == 0 {
		return nil, nil
	}
	var err error
	if a.geo, err = enrich.LoadGeo(*a.paths); err != nil {
		return nil, err
	}
	return []correlator.Enricher{a.geo.Enricher()}, nil
}

// reach adds what watch needs of the system: a file that another is moved in the
// place of is found by its folder.
func (a *atlas) reach(may *reach) {
	for _, path := range *a.paths {
		may.read = append(may.read, filepath.Dir(path))
	}
}

// redrawing is how often the files of the databases are looked at.
const redrawing = 10 * time.Second

// watch reads the databases again when their files have changed, until ctx
// ends. One that is wrong changes nothing, and is complained of once.
func (a *atlas) watch(ctx context.Context, every time.Duration, errs io.Writer) {
	if a.geo == nil {
		return
	}
	looks := time.NewTicker(every)
	defer looks.Stop()
	told := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-looks.C:
		}
		changed, err := a.geo.Reload()
		switch {
		case err != nil && err.Error() != told:
			told = err.Error()
			complain(errs, fmt.Errorf("the databases of before are still used: %w", err))
		case changed:
			told = ""
			fmt.Fprintf(errs, "tocsin: where addresses are is now said by %s\n", strings.Join(a.geo.Databases(), ", "))
		}
	}
}
