-- +goose Up
CREATE INDEX shipments_created_at ON shipments (created_at, shipment_id);
