package storetest

import "testing"

func testConformance(t *testing.T, open Open) {}
