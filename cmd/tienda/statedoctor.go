package main

import (
	"context"
	"fmt"

	"tienda/backup"
)

type stateDoctorCommand struct {
	Bucket string `help:"Address of the bucket, and of a folder in it: https://HOST/BUCKET. Its keys are AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY." placeholder:"URL" required:""`
	Region string `help:"Region of the bucket; us-east-1 unless given, which most services take." placeholder:"NAME"`
}

// What Terraform would make of a bucket that cannot hold a lock, by how it takes conditions.
const (
	locksNothing = "Terraform's use_lockfile would lock nothing there: two applies at once would both go ahead and ruin the state."
	cannotLock   = "Terraform's use_lockfile could not write its lock there, and no apply would begin; without it two at once would ruin the state."
)

// alternatives are for such a bucket.
const alternatives = `Instead
  1. let one writer only apply: a CI job with a concurrency group (GitHub Actions: concurrency), and nobody by hand;
  2. or keep the state where locking works: another S3 that passes this test, the backend "pg" or "kubernetes";
  3. or put a backend "http" with LOCK and UNLOCK in front of the bucket.`

// Run proves that the bucket can hold the lock of a Terraform state, or says what to do.
func (c *stateDoctorCommand) Run(ctx context.Context, term terminal, environ environment) error {
	bucket, err := backup.OpenBucket(backup.Place{
		URL: c.Bucket, Region: c.Region, AccessKey: environ.get("AWS_ACCESS_KEY_ID"), SecretKey: environ.get("AWS_SECRET_ACCESS_KEY"),
	})
	if err != nil {
		return err
	}
	found, err := bucket.Diagnose(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(term.out, "bucket:              %s\nconditional writes:  %s\nversions of objects: %s\n", bucket, found.Conditional, found.Versions)
	if found.Conditional == backup.Honoured {
		return nil
	}
	comes := locksNothing
	if found.Conditional == backup.Refused {
		comes = cannotLock
	}
	fmt.Fprintf(term.out, "\n%s %s\n", comes, alternatives)
	return fmt.Errorf("state-doctor: %s must not hold a state that is locked by use_lockfile", bucket)
}
