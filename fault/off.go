//go:build !faults

package fault

import "net/http"

// BeforeCommit is the point at which a transaction has done its work and nothing of it is durable.
func BeforeCommit() {}

// AfterCommit is the point at which a transaction is durable and its caller does not know.
func AfterCommit() {}

// Answered is the point at which a neighbour has done a step and the next is not written down.
func Answered(string) {}

// Writer is w with the points of the answer to r.
func Writer(w http.ResponseWriter, _ *http.Request) http.ResponseWriter { return w }

// Transport is next with the faults of the neighbours that the named component calls.
func Transport(_ string, next http.RoundTripper) http.RoundTripper { return next }
