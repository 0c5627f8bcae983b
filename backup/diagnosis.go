package backup

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"

	"github.com/minio/minio-go/v7"
)

// Conditional is what a service makes of a write that is to happen only if there is no such object.
type Conditional string

// What a service can make of it. Only one that honours it can hold a lock.
const (
	Honoured Conditional = "honoured: the second of two writes was refused"
	Ignored  Conditional = "ignored: the second of two writes replaced the first, so a lock would be no lock"
	Refused  Conditional = "refused: the service does not know them"
)

// Diagnosis is what a bucket can do that not every S3 can.
type Diagnosis struct {
	Conditional Conditional
	// Versions is whether what is overwritten or deleted can be had back.
	Versions string
}

// Diagnose writes the same new object twice on condition that it is not there, as Terraform writes its lock, and removes it. A
// service that cannot be asked is an error.
func (b *Bucket) Diagnose(ctx context.Context) (Diagnosis, error) {
	var found Diagnosis
	versions, err := b.client.GetBucketVersioning(ctx, b.bucket)
	switch code := minio.ToErrorResponse(err).StatusCode; {
	case err == nil && versions.Enabled():
		found.Versions = "kept"
	case err == nil:
		found.Versions = "not kept: turn versioning on before there is a state, which could not be had back otherwise"
	case code == http.StatusNotImplemented || code == http.StatusForbidden:
		found.Versions = "not known: " + err.Error()
	default:
		return found, b.failed("ask about versions of", "", err)
	}
	// A name of its own each time: what is left of a run that was killed must not be taken for a refusal.
	name := "state-doctor-" + strings.ToLower(rand.Text())
	var written []minio.ObjectInfo
	defer func() {
		for _, object := range written {
			// What cannot be removed is an empty object that disturbs nobody.
			_ = b.client.RemoveObject(ctx, b.bucket, object.Key, minio.RemoveObjectOptions{VersionID: object.VersionID})
		}
	}()
	write := func() error {
		options := putOptions()
		options.SetMatchETagExcept("*")
		info, err := b.client.PutObject(ctx, b.bucket, b.prefix+name, strings.NewReader("{}"), 2, options)
		if err == nil {
			written = append(written, minio.ObjectInfo{Key: info.Key, VersionID: info.VersionID})
		}
		return err
	}
	if err := write(); err != nil {
		switch answer := minio.ToErrorResponse(err); {
		case unknownCondition(answer):
			found.Conditional = Refused
			return found, nil
		case answer.Code == minio.PreconditionFailed:
			return found, fmt.Errorf("store %s%s: the write arrived twice, or the service says of an object that nobody made that it is there: try again", b.place, name)
		}
		return found, b.failed("store", name, err)
	}
	err = write()
	switch minio.ToErrorResponse(err).StatusCode {
	case http.StatusPreconditionFailed, http.StatusConflict:
		found.Conditional = Honoured
	default:
		if err != nil {
			return found, b.failed("store", name, err)
		}
		found.Conditional = Ignored
	}
	return found, nil
}

// unknownCondition reports whether a service refuses a write because it does not know its condition.
func unknownCondition(answer minio.ErrorResponse) bool {
	switch answer.Code {
	case "NotImplemented", "InvalidArgument", "InvalidRequest", "MethodNotAllowed":
		return true
	}
	return false
}
