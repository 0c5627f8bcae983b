-- +goose Up
CREATE TABLE products (
    product_id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    category_id BIGINT,
    title VARCHAR(255),
    image_url VARCHAR(2048),
    sku VARCHAR(255),
    description TEXT,
    price BIGINT,
    currency CHAR(3) NOT NULL,
    on_hand BIGINT NOT NULL,
    reserved BIGINT NOT NULL,
    published BOOLEAN NOT NULL,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    deleted_at BIGINT,
    CONSTRAINT products_price CHECK (price >= 0),
    CONSTRAINT products_on_hand CHECK (on_hand >= 0),
    CONSTRAINT products_reserved CHECK (reserved >= 0 AND reserved <= on_hand),
    CONSTRAINT products_category FOREIGN KEY (category_id) REFERENCES categories (category_id)
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX products_category_id ON products (category_id, product_id);
CREATE INDEX products_price_id ON products (price, product_id);
CREATE INDEX products_title ON products (title, product_id);
CREATE INDEX products_created_at ON products (created_at, product_id);

CREATE TABLE product_terms (
    term VARCHAR(64) NOT NULL,
    product_id BIGINT NOT NULL,
    PRIMARY KEY (term, product_id)
) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
CREATE INDEX product_terms_product_id ON product_terms (product_id);
