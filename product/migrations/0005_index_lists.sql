-- +goose Up
-- A search goes from the terms to the products, or from a product to its terms.
CREATE INDEX product_terms_product ON product_terms (product_id, term);
DROP INDEX product_terms_product_id ON product_terms;
-- With what every list asks for beside its order, an index alone tells which products a page shows.
CREATE INDEX products_by_price ON products (price, product_id, published, deleted_at);
DROP INDEX products_price_id ON products;
CREATE INDEX products_by_title ON products (title, product_id, published, deleted_at);
DROP INDEX products_title ON products;
CREATE INDEX products_by_age ON products (created_at, product_id, published, deleted_at);
DROP INDEX products_created_at ON products;
