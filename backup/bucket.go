package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// Place says where a bucket is and who may use it.
type Place struct {
	// URL is the address of the service with the bucket behind it, and a folder in it if backups are to
	// have one: "https://nyc3.digitaloceanspaces.com/my-backups/stage".
	URL string
	// Region is one that the service wants to be told; "us-east-1" when it is empty, which most take.
	Region               string
	AccessKey, SecretKey string
	// Owner is the name of the shop whose backups are in the folder. When it is empty it is the server that they are taken of: good as long as no other
	// server takes its place.
	Owner string
	// Transport makes the calls; nil is a usual one.
	Transport http.RoundTripper
}

// Bucket is a folder of a bucket of S3.
type Bucket struct {
	client         *minio.Client
	bucket, prefix string
	place          string
	owner          string
}

// partSize is how much of an object that is sent in parts is kept in memory. S3 takes 10,000 parts, so no object is
// larger than 156 GiB.
const partSize = 16 << 20

// OpenBucket reads where the bucket is; it asks nobody.
func OpenBucket(place Place) (*Bucket, error) {
	u, err := url.Parse(place.URL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" || strings.Trim(u.Path, "/") == "" {
		return nil, errors.New("the address of the bucket is not one such as https://nyc3.digitaloceanspaces.com/BUCKET or https://nyc3.digitaloceanspaces.com/BUCKET/FOLDER")
	}
	if place.AccessKey == "" || place.SecretKey == "" {
		return nil, errors.New("the keys of the bucket are missing: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	}
	if place.Region == "" {
		place.Region = "us-east-1"
	}
	client, err := minio.New(u.Host, &minio.Options{
		Creds: credentials.NewStaticV4(place.AccessKey, place.SecretKey, ""), Secure: u.Scheme == "https", Region: place.Region,
		BucketLookup: minio.BucketLookupPath, Transport: place.Transport, MaxRetries: 6,
	})
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", place.URL, err)
	}
	bucket, prefix, _ := strings.Cut(strings.Trim(u.Path, "/"), "/")
	if prefix != "" {
		prefix += "/"
	}
	return &Bucket{client: client, bucket: bucket, prefix: prefix, place: u.Scheme + "://" + u.Host + "/" + bucket + "/" + prefix, owner: place.Owner}, nil
}

// String is the address, for messages.
func (b *Bucket) String() string { return b.place }

// object is one that is there.
type object struct {
	name     string
	size     int64
	modified time.Time // by the clock of the service
}

var errNoObject = errors.New("there is no such object")

// failed adds to an error of the service what was being done, and what to do about the errors that people make.
func (b *Bucket) failed(what, name string, err error) error {
	response := minio.ToErrorResponse(err)
	advice := ""
	switch response.Code {
	case minio.NoSuchKey:
		return fmt.Errorf("%s %s%s: %w", what, b.place, name, errNoObject)
	case minio.NoSuchBucket:
		advice = ": make the bucket, or correct its address"
	case minio.AccessDenied, "SignatureDoesNotMatch", "InvalidAccessKeyId":
		advice = ": the keys AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY must be those of somebody who may read, write, list and delete there"
	case "RequestTimeTooSkewed":
		advice = ": the clock of this machine is wrong"
	}
	return fmt.Errorf("%s %s%s: %w%s", what, b.place, name, err, advice)
}

func putOptions() minio.PutObjectOptions {
	return minio.PutObjectOptions{
		ContentType: "application/octet-stream", PartSize: partSize,
		// Each part is checked by its MD5, which every service understands; newer checksums are not.
		SendContentMd5: true, DisableContentSha256: true,
	}
}

// put stores an object whole or not at all; size is -1 when it is not known. It returns how long the object
// is, after asking the service.
func (b *Bucket) put(ctx context.Context, name string, content io.Reader, size int64) (int64, error) {
	info, err := b.client.PutObject(ctx, b.bucket, b.prefix+name, content, size, putOptions())
	if err != nil {
		return 0, b.failed("store", name, err)
	}
	there, err := b.client.StatObject(ctx, b.bucket, b.prefix+name, minio.StatObjectOptions{})
	if err != nil {
		return 0, b.failed("look at", name, err)
	}
	if there.Size != info.Size {
		return 0, fmt.Errorf("store %s%s: %d bytes were sent and %d are there", b.place, name, info.Size, there.Size)
	}
	return there.Size, nil
}

// open reads an object; what fails, an object that is not there as well, fails while it is read.
func (b *Bucket) open(ctx context.Context, name string) (io.ReadCloser, error) {
	content, err := b.client.GetObject(ctx, b.bucket, b.prefix+name, minio.GetObjectOptions{})
	if err != nil {
		return nil, b.failed("read", name, err)
	}
	return content, nil
}

// read is a small object.
func (b *Bucket) read(ctx context.Context, name string) ([]byte, error) {
	const most = 1 << 20
	content, err := b.open(ctx, name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = content.Close() }() // it is only read
	text, err := io.ReadAll(io.LimitReader(content, most))
	if err != nil {
		return nil, b.failed("read", name, err)
	}
	return text, nil
}

// download copies an object into a file; what was already copied when the connection broke is not asked for again.
func (b *Bucket) download(ctx context.Context, name, file string) error {
	var err error
	for range 3 {
		if err = b.client.FGetObject(ctx, b.bucket, b.prefix+name, file, minio.GetObjectOptions{}); err == nil || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return b.failed("read", name, err)
	}
	return nil
}

// folders are those in a folder, by name.
func (b *Bucket) folders(ctx context.Context, folder string) ([]string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var names []string
	for info := range b.client.ListObjects(ctx, b.bucket, minio.ListObjectsOptions{Prefix: b.prefix + folder}) {
		if info.Err != nil {
			return nil, b.failed("list", folder, info.Err)
		}
		if name, ok := strings.CutSuffix(strings.TrimPrefix(info.Key, b.prefix+folder), "/"); ok {
			names = append(names, name)
		}
	}
	return names, ctx.Err()
}

// list are all objects of a folder, in the order of their names.
func (b *Bucket) list(ctx context.Context, folder string) ([]object, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the listing when it is left early
	var objects []object
	for info := range b.client.ListObjects(ctx, b.bucket, minio.ListObjectsOptions{Prefix: b.prefix + folder, Recursive: true}) {
		if info.Err != nil {
			return nil, b.failed("list", folder, info.Err)
		}
		objects = append(objects, object{strings.TrimPrefix(info.Key, b.prefix), info.Size, info.LastModified})
	}
	return objects, ctx.Err()
}

// remove deletes an object; one that is not there is fine.
func (b *Bucket) remove(ctx context.Context, name string) error {
	if err := b.client.RemoveObject(ctx, b.bucket, b.prefix+name, minio.RemoveObjectOptions{}); err != nil {
		return b.failed("delete", name, err)
	}
	return nil
}

// removeUnfinished deletes the parts of uploads that were broken off before a time.
func (b *Bucket) removeUnfinished(ctx context.Context, before time.Time) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for upload := range b.client.ListIncompleteUploads(ctx, b.bucket, b.prefix+dumpsFolder, true) {
		if minio.ToErrorResponse(upload.Err).Code == minio.NoSuchUpload {
			return nil // some services say so when there is none
		}
		if upload.Err != nil {
			return b.failed("list broken uploads of", dumpsFolder, upload.Err)
		}
		if upload.Initiated.Before(before) {
			if err := b.client.RemoveIncompleteUpload(ctx, b.bucket, upload.Key); err != nil {
				return b.failed("delete the broken upload of", strings.TrimPrefix(upload.Key, b.prefix), err)
			}
		}
	}
	return nil
}
