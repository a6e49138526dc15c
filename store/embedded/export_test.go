package embedded

// OpenSmall opens a store with small blocks and runs, so that few events are
// enough for all that happens to many.
func OpenSmall(dir string) (*Store, error) {
	s, err := Open(dir, ReadWrite)
	if err == nil {
		s.sizes = sizes{blockEvents: 60, runEvents: 480, mergeBlocks: 8}
	}
	return s, err
}
