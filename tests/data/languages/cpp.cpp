// Shapes and their areas. 🔺
#include <memory>
#include <numeric>
#include <string>
#include <vector>

namespace shapes {

class Shape {
public:
    virtual ~Shape() = default;
    virtual double area() const = 0;
    virtual std::string name() const { return "shape"; }
};

class Circle final : public Shape {
public:
    explicit Circle(double radius) : radius_{radius} {}
    double area() const override { return 3.14159 * radius_ * radius_; }
    std::string name() const override { return "Kreis ⭕😀"; }

private:
    double radius_;
};

template <typename T>
T clamp(T value, T low, T high) {
    if (value < low) {
        return low;
    }
    return value > high ? high : value;
}

double total(const std::vector<std::unique_ptr<Shape>>& all) {
    return std::accumulate(all.begin(), all.end(), 0.0,
                           [](double sum, const auto& shape) { return sum + shape->area(); });
}

}  // namespace shapes

int main() {
    std::vector<std::unique_ptr<shapes::Shape>> all;
    for (int i = 1; i <= 3; ++i) {
        all.push_back(std::make_unique<shapes::Circle>(i));
    }
    try {
        return static_cast<int>(shapes::clamp(shapes::total(all), 0.0, 255.0));
    } catch (const std::exception& error) {
        return 1;
    }
}
