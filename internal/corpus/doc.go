// Package corpus compares what Tocsin says of foreign captures with what other
// tools say of them. It holds tests only; they need the folder that the
// environment variable TOCSIN_CORPUS names, and `make corpus` runs them.
//
// Differences that have a reason are listed in differences.tsv, of which
// docs/DIFFERENCES.md is made. Others fail the test, and so does a listed one
// that no longer occurs.
package corpus
