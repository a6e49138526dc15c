package embedded_test

import (
	"testing"

	"github.com/tocsin/tocsin/store"
	"github.com/tocsin/tocsin/store/embedded"
	"github.com/tocsin/tocsin/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Test(t, storetest.Traits{}, func(t *testing.T, dir string) store.Store {
		s, err := embedded.Open(dir, embedded.ReadWrite)
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

func TestStoreOfSmallBlocks(t *testing.T) {
	storetest.Test(t, storetest.Traits{}, func(t *testing.T, dir string) store.Store {
		s, err := embedded.OpenSmall(dir)
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}
