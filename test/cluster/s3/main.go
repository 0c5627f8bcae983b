// Command s3 is a bucket in a pod: a stand-in for S3 that keeps objects in memory, serves on port 9000, and has the bucket
// "backups". It believes every key.
package main

import (
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

func main() {
	store := s3mem.New()
	err := store.CreateBucket("backups")
	if err == nil {
		server := &http.Server{Addr: ":9000", Handler: gofakes3.New(store).Server(), ReadHeaderTimeout: time.Minute}
		err = server.ListenAndServe()
	}
	fmt.Fprintln(os.Stderr, "s3:", err)
	os.Exit(1)
}
