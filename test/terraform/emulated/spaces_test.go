package main

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/lifecycle"
)

// TestSpaces does with a bucket what the provider does with those of bootstrap, and calls it as the provider does: by the bucket's own name.
func TestSpaces(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(newSpaces(s3mem.New()))
	t.Cleanup(server.Close)
	proxy, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	through := &http.Transport{Proxy: http.ProxyURL(proxy)}
	client, err := minio.New(strings.TrimPrefix(strings.Replace(addressOfSpaces, "{{.Region}}", "nyc3", 1), "http://"), &minio.Options{
		Creds: credentials.NewStaticV4("key", "secret", ""), Region: "us-east-1", BucketLookup: minio.BucketLookupDNS, Transport: through,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, bucket := t.Context(), "ecommerce-terraform-state"
	if err := client.MakeBucket(ctx, bucket, minio.MakeBucketOptions{}); err != nil {
		t.Fatal(err)
	}
	if there, err := client.BucketExists(ctx, bucket); err != nil || !there {
		t.Errorf("the bucket is there: %v, %v", there, err)
	}
	if _, err := client.GetBucketLocation(ctx, bucket); err != nil {
		t.Error(err)
	}
	private, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://"+bucket+"."+regionOfSpaces+"/?acl", http.NoBody) // which this client knows nothing of
	if err != nil {
		t.Fatal(err)
	}
	answer, err := through.RoundTrip(private)
	if err != nil {
		t.Fatal(err)
	}
	if answer.Body.Close() != nil || answer.StatusCode != http.StatusOK {
		t.Errorf("the bucket cannot be made private: %s", answer.Status)
	}
	if err := client.EnableVersioning(ctx, bucket); err != nil {
		t.Error(err)
	}
	if versions, err := client.GetBucketVersioning(ctx, bucket); err != nil || !versions.Enabled() {
		t.Errorf("versions %+v, %v", versions, err)
	}
	if _, err := client.GetBucketLifecycle(ctx, bucket); minio.ToErrorResponse(err).Code != "NoSuchLifecycleConfiguration" {
		t.Errorf("rules that nobody made: %v", err)
	}
	rules := lifecycle.NewConfiguration()
	rules.Rules = []lifecycle.Rule{{ID: "old", Status: "Enabled", NoncurrentVersionExpiration: lifecycle.NoncurrentVersionExpiration{NoncurrentDays: 90}}}
	if err := client.SetBucketLifecycle(ctx, bucket, rules); err != nil {
		t.Error(err)
	}
	if got, err := client.GetBucketLifecycle(ctx, bucket); err != nil || len(got.Rules) != 1 || got.Rules[0].NoncurrentVersionExpiration.NoncurrentDays != 90 {
		t.Errorf("rules %+v, %v", got, err)
	}
	if err := client.RemoveBucket(ctx, bucket); err != nil {
		t.Error(err)
	}
	if there, err := client.BucketExists(ctx, bucket); err != nil || there {
		t.Errorf("a deleted bucket is there: %v, %v", there, err)
	}
}
