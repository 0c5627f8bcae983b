-- +goose Up
-- interrupted tells that a driver died while it had the saga: it may have gone further than the step says.
ALTER TABLE sagas ADD COLUMN interrupted BOOLEAN NOT NULL DEFAULT FALSE;
